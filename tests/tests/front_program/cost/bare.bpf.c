// SPDX-License-Identifier: MIT OR Apache-2.0
// Beside what the front-end's program is measured: `bare`, the least that forwards a known IPv4 flow to its server, and programs
// that run before a measured one and give it the next packet, so that one system call is many packets.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct flow {
	__be32 client;
	__be32 vip;
	__be16 client_port;
	__be16 port;
	__u32 protocol;
};

struct link {
	__u8 bytes[12];
};

struct headers {
	struct ethhdr ethernet;
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct flow);
	__type(value, __u32);
	__uint(max_entries, 1);
} FLOWS SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct link);
	__uint(max_entries, 256);
} LINKS SEC(".maps");

// Slot 0: the program that is measured.
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
	__uint(max_entries, 1);
} MEASURED SEC(".maps");

// Looks up the flow and its server, writes twelve bytes, sends. No counter, no clock, no IPv6, no check of lengths.
SEC("xdp")
int bare(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct headers *packet = (void *)(long)ctx->data;

	if ((void *)(packet + 1) > end)
		return XDP_PASS;
	if (packet->ethernet.h_proto != bpf_htons(ETH_P_IP) || packet->ip.protocol != IPPROTO_TCP)
		return XDP_PASS;
	struct flow flow = {
		.client = packet->ip.saddr,
		.vip = packet->ip.daddr,
		.client_port = packet->tcp.source,
		.port = packet->tcp.dest,
		.protocol = IPPROTO_TCP,
	};
	__u32 *server = bpf_map_lookup_elem(&FLOWS, &flow);
	if (!server)
		return XDP_PASS;
	struct link *link = bpf_map_lookup_elem(&LINKS, server);
	if (!link)
		return XDP_PASS;
	__builtin_memcpy(packet, link, sizeof(*link));
	return XDP_TX;
}

// Eight bytes at once, as the measured programs may read them so: a load of what several stores wrote would wait for them.
static __always_inline void store(void *packet, int offset, __u64 value)
{
	*(volatile __u64 *)(packet + offset) = value;
}

static __always_inline __u64 load(void *packet, int offset)
{
	return *(volatile __u64 *)(packet + offset);
}

#define IPV4_ADDRESSES 26
#define PORTS_AND_SEQ 34
#define NUMBERS 38
#define HEADERS 54

volatile const __u32 flow_bits = 0;

// Another flow in each run: the source becomes one of 2^flow_bits in the prefix that it has, in an order without a pattern that
// comes to each one (a linear congruential generator whose state is the sequence number).
SEC("xdp")
int next_flow(struct xdp_md *ctx)
{
	void *packet = (void *)(long)ctx->data;

	if (packet + HEADERS > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	__u64 ports_and_seq = load(packet, PORTS_AND_SEQ);
	__u32 state = bpf_ntohl(ports_and_seq >> 32) * 1664525 + 1013904223;
	store(packet, PORTS_AND_SEQ, (__u32)ports_and_seq | (__u64)bpf_htonl(state) << 32);
	__u64 addresses = load(packet, IPV4_ADDRESSES);
	__u32 source = (bpf_ntohl(addresses) & -1U << flow_bits) | (__u32)((__u64)state << flow_bits >> 32);
	store(packet, IPV4_ADDRESSES, (addresses & ~0xffffffffULL) | bpf_htonl(source));
	bpf_tail_call(ctx, &MEASURED, 0);
	return XDP_ABORTED;
}

__u32 requests = 0;

// The next request of the same connection in each run, four bytes long, after a response of one. Sequence numbers begin at 0.
SEC("xdp")
int next_request(struct xdp_md *ctx)
{
	void *packet = (void *)(long)ctx->data;

	if (packet + HEADERS > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	__u32 request = ++requests;
	store(packet, NUMBERS, bpf_htonl(4 * request) | (__u64)bpf_htonl(request) << 32);
	bpf_tail_call(ctx, &MEASURED, 0);
	return XDP_ABORTED;
}

#define MAX_FRAME 96

// A frame of `len` bytes; the rest is not written.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u8[MAX_FRAME]);
	__uint(max_entries, 1);
} FRAME SEC(".maps");

volatile const __u32 frame_len = MAX_FRAME;

// The same packet in each run, whatever the last run made of it. Addresses of either family lie within one of the words.
static __always_inline int restore(struct xdp_md *ctx, int first_word)
{
	__u32 slot = 0;
	__u8 *frame = bpf_map_lookup_elem(&FRAME, &slot);

	void *packet = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	long len = end - packet;

	// Keeps the compiler from 32-bit arithmetic on pointers, which the verifier prohibits.
	asm volatile("" : "+r"(len));
	if (!frame || bpf_xdp_adjust_tail(ctx, frame_len - len))
		return XDP_ABORTED;
	packet = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (packet + HEADERS > end)
		return XDP_ABORTED;
	store(packet, 0, load(frame, 0));
#pragma unroll
	for (int at = first_word; at + 8 <= MAX_FRAME; at += 8) {
		if (packet + at + 8 > end)
			break;
		store(packet, at, load(frame, at));
	}
	bpf_tail_call(ctx, &MEASURED, 0);
	return XDP_ABORTED;
}

SEC("xdp")
int restore_ipv4(struct xdp_md *ctx)
{
	return restore(ctx, 2);
}

SEC("xdp")
int restore_ipv6(struct xdp_md *ctx)
{
	return restore(ctx, 6);
}

// The acknowledgement number of the client at each port, in network byte order.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 65536);
} ACKS SEC(".maps");

__u32 clients = 0;

// The first segment of the next connection in each run: another port of the client, and what is acknowledged by it. A ticket before
// the payload goes; only the headers are written anew.
static __always_inline int next_client(struct xdp_md *ctx, int first_word, int tcp)
{
	__u32 slot = 0, port = ++clients & 0xffff;
	__u8 *frame = bpf_map_lookup_elem(&FRAME, &slot);
	__u32 *ack = bpf_map_lookup_elem(&ACKS, &port);
	void *packet = (void *)(long)ctx->data;
	long len = (void *)(long)ctx->data_end - packet;

	asm volatile("" : "+r"(len));
	if (!frame || !ack || bpf_xdp_adjust_head(ctx, len - frame_len))
		return XDP_ABORTED;
	packet = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	if (packet + MAX_FRAME > end)
		return XDP_ABORTED;
	store(packet, 0, load(frame, 0));
#pragma unroll
	for (int at = first_word; at + 8 <= MAX_FRAME; at += 8)
		store(packet, at, load(frame, at));
	*(volatile __u16 *)(packet + tcp) = bpf_htons(port);
	*(volatile __u32 *)(packet + tcp + 8) = *ack;
	bpf_tail_call(ctx, &MEASURED, 0);
	return XDP_ABORTED;
}

SEC("xdp")
int next_client_ipv4(struct xdp_md *ctx)
{
	return next_client(ctx, 2, 34);
}

SEC("xdp")
int next_client_ipv6(struct xdp_md *ctx)
{
	return next_client(ctx, 6, 54);
}
