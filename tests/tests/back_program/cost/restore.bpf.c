// SPDX-License-Identifier: MIT OR Apache-2.0
// Beside what a server's programs are measured: `restore` gives a flow's entry back what it was before the last run and calls the
// measured program, so that one system call is many packets; `empty` is what is measured to see what that alone takes.

#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define KEY_WORDS 3
#define FLOW_WORDS 10

struct key {
	__u64 words[KEY_WORDS];
};

struct flow {
	__u64 words[FLOW_WORDS];
};

struct saved {
	struct key key;
	struct flow flow;
};

// The server's own map.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct key);
	__type(value, struct flow);
	__uint(max_entries, 262144);
} FLOWS SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct saved);
	__uint(max_entries, 1);
} SAVED SEC(".maps");

// Slot 0: the program that is measured.
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
	__uint(max_entries, 1);
} MEASURED SEC(".maps");

SEC("classifier")
int restore(struct __sk_buff *skb)
{
	__u32 slot = 0;
	struct saved *saved = bpf_map_lookup_elem(&SAVED, &slot);

	if (!saved)
		return TC_ACT_SHOT;
	struct flow *flow = bpf_map_lookup_elem(&FLOWS, &saved->key);
	if (!flow)
		return TC_ACT_SHOT;
#pragma unroll
	for (int at = 0; at < FLOW_WORDS; at++)
		*(volatile __u64 *)&flow->words[at] = saved->flow.words[at];
	bpf_tail_call(skb, &MEASURED, 0);
	return TC_ACT_SHOT;
}

SEC("classifier")
int empty(struct __sk_buff *skb)
{
	return TC_ACT_OK;
}
