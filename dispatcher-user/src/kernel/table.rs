//! A map as a table: single and batched access through its file descriptor.
//!
//! The batch commands (Linux 5.6, for per-CPU arrays 5.13), which aya does not have, make one system call of many. What the
//! entries mean, and when they go, is decided elsewhere.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use aya::{Pod, util::nr_cpus};

/// `enum bpf_cmd` of linux/bpf.h.
mod command {
    pub(super) const LOOKUP: i32 = 1;
    pub(super) const UPDATE: i32 = 2;
    pub(super) const DELETE: i32 = 3;
    pub(super) const LOOKUP_BATCH: i32 = 24;
    pub(super) const UPDATE_BATCH: i32 = 26;
}

/// Entries that one batch of [`Table::scan`] asks for at first, some 80 KB of keys and values.
const SCAN_BATCH: usize = 1024;

/// Most entries that it grows to when one hash bucket holds more than a batch.
const MAX_SCAN_BATCH: usize = 1 << 20;

/// The members of `union bpf_attr` for one element.
#[repr(C)]
#[derive(Default)]
struct ElementAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The members of `union bpf_attr` for a batch.
#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// A hash map or an array; clones share the descriptor.
#[derive(Debug)]
pub struct Table<K, V> {
    fd: Arc<OwnedFd>,
    /// Values of each key: one, or one for each CPU that the kernel may ever have.
    values: usize,
    entries: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self { fd: Arc::clone(&self.fd), values: self.values, entries: PhantomData }
    }
}

/// Where a scan of the table stands; [`Default`] is its beginning.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    position: Option<u64>,
    done: bool,
}

impl Cursor {
    /// Whether the whole table has been seen.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }
}

impl<K: Pod + Default, V: Pod + Default> Table<K, V> {
    /// A table on a map with keys and values of these types.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd: Arc::new(fd), values: 1, entries: PhantomData }
    }

    /// The same with a duplicate of a descriptor that belongs to someone else.
    pub fn from_borrowed(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self::new(fd.try_clone_to_owned()?))
    }

    /// A table on a per-CPU map, of which only [`scan`](Self::scan) is of use: it gives each key once for each CPU.
    pub fn per_cpu(fd: BorrowedFd<'_>) -> io::Result<Self> {
        const { assert!(size_of::<V>().is_multiple_of(8), "the kernel pads values of per-CPU maps") };
        let cpus = nr_cpus().map_err(|(_, error)| error)?;
        Ok(Self { values: cpus, ..Self::from_borrowed(fd)? })
    }

    /// The value of a key.
    pub fn lookup(&self, key: &K) -> io::Result<Option<V>> {
        let mut value = V::default();
        let attr = self.element(key, std::ptr::from_mut(&mut value) as u64);
        match bpf(command::LOOKUP, &attr) {
            Ok(()) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the value of a key, whether there is one or not.
    pub fn update(&self, key: &K, value: &V) -> io::Result<()> {
        bpf(command::UPDATE, &self.element(key, std::ptr::from_ref(value) as u64))
    }

    /// Writes many entries by one system call if the kernel lets it. Returns how many could not be written.
    ///
    /// # Panics
    /// If there are not as many values as keys.
    pub fn update_batch(&self, keys: &[K], values: &[V]) -> usize {
        assert_eq!(keys.len(), values.len(), "each key has a value");
        if keys.is_empty() {
            return 0;
        }
        let mut attr = self.batch(keys.as_ptr() as u64, values.as_ptr() as u64, keys.len());
        let done = match bpf_counting(command::UPDATE_BATCH, &mut attr) {
            Ok(()) => keys.len(),
            // The kernel says how many it wrote before it stopped; nothing if it does not know the command.
            Err(error) => written_before(&error, &attr, keys.len()),
        };
        keys[done..]
            .iter()
            .zip(&values[done..])
            .filter(|(key, value)| self.update(key, value).is_err())
            .count()
    }

    /// Removes a key; false if it was not there.
    pub fn delete(&self, key: &K) -> io::Result<bool> {
        match bpf(command::DELETE, &self.element(key, 0)) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Appends the next entries to `found`, about a thousand keys a call, and moves the cursor on. An entry that comes or goes
    /// while the scan runs may be missed or, when the kernel repeats a bucket, seen twice.
    pub fn scan(&self, cursor: &mut Cursor, found: &mut Vec<(K, V)>) -> io::Result<()> {
        let mut room = SCAN_BATCH;
        while !cursor.done {
            match self.scan_batch(cursor, found, room) {
                // One bucket holds more than there was room for.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && room < MAX_SCAN_BATCH => {
                    room *= 4;
                }
                result => return result,
            }
        }
        Ok(())
    }

    /// At least `enough` entries, if there are so many.
    pub fn some(&self, enough: usize) -> io::Result<Vec<(K, V)>> {
        let (mut cursor, mut found) = (Cursor::default(), Vec::new());
        while !cursor.is_done() && found.len() < enough {
            self.scan(&mut cursor, &mut found)?;
        }
        Ok(found)
    }

    fn scan_batch(&self, cursor: &mut Cursor, found: &mut Vec<(K, V)>, room: usize) -> io::Result<()> {
        let mut keys = vec![K::default(); room];
        let mut values = vec![V::default(); room * self.values];
        // The position of a hash map or of an array is 32 bits; the kernel writes no more than that.
        let mut next = 0_u64;
        let mut attr = self.batch(keys.as_mut_ptr() as u64, values.as_mut_ptr() as u64, room);
        attr.in_batch = cursor.position.as_ref().map_or(0, |position| std::ptr::from_ref(position) as u64);
        attr.out_batch = std::ptr::from_mut(&mut next) as u64;
        match bpf_counting(command::LOOKUP_BATCH, &mut attr) {
            Ok(()) => cursor.position = Some(next),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => cursor.done = true,
            Err(error) => return Err(error),
        }
        let count = (attr.count as usize).min(room);
        let each = values.chunks_exact(self.values);
        for (key, values) in keys.iter().take(count).zip(each) {
            found.extend(values.iter().map(|value| (*key, *value)));
        }
        Ok(())
    }

    fn element(&self, key: &K, value: u64) -> ElementAttr {
        ElementAttr {
            map_fd: self.raw(),
            key: std::ptr::from_ref(key) as u64,
            value,
            ..ElementAttr::default()
        }
    }

    fn batch(&self, keys: u64, values: u64, count: usize) -> BatchAttr {
        BatchAttr {
            keys,
            values,
            count: u32::try_from(count).unwrap_or(u32::MAX),
            map_fd: self.raw(),
            ..BatchAttr::default()
        }
    }

    fn raw(&self) -> u32 {
        self.fd.as_raw_fd().cast_unsigned()
    }
}

impl<K, V> AsFd for Table<K, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Elements that a batch command got through before it failed. A kernel that refuses the command as such leaves the count as
/// it was given.
fn written_before(error: &io::Error, attr: &BatchAttr, given: usize) -> usize {
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::EPERM | libc::EFAULT) => 0,
        _ if attr.count as usize >= given => 0,
        _ => attr.count as usize,
    }
}

fn bpf(command: i32, attr: &ElementAttr) -> io::Result<()> {
    // SAFETY: the attribute and what it points to (a key and a value of the map's sizes) outlive the call; the kernel copies
    // it and does not write to it for these commands.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<ElementAttr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn bpf_counting(command: i32, attr: &mut BatchAttr) -> io::Result<()> {
    // SAFETY: the attribute and the arrays it points to, as long as its count says, outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<BatchAttr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, os::fd::FromRawFd};

    use dispatcher_common::{
        address::Address,
        filter::{Filter, FlowKey, state},
        server::ClassStats,
    };

    use super::*;

    type FilterTable = Table<FlowKey, Filter>;

    const HASH: u32 = 1;
    const PER_CPU_ARRAY: u32 = 6;

    /// The members of `union bpf_attr` that create a map.
    #[repr(C)]
    #[derive(Default)]
    struct CreateAttr {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
    }

    fn create(map_type: u32, key_size: usize, value_size: usize, max_entries: u32) -> Option<OwnedFd> {
        let (key_size, value_size) = (key_size as u32, value_size as u32);
        let attr = CreateAttr { map_type, key_size, value_size, max_entries, map_flags: 0 };
        // SAFETY: BPF_MAP_CREATE (0) reads the attribute only.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, 0, &attr, size_of::<CreateAttr>()) };
        if fd < 0 {
            println!("skipped: cannot create a map: {}; run as root", io::Error::last_os_error());
            return None;
        }
        // SAFETY: the kernel just gave us this descriptor.
        Some(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }

    fn table(max_entries: u32) -> Option<FilterTable> {
        create(HASH, size_of::<FlowKey>(), size_of::<Filter>(), max_entries).map(FilterTable::new)
    }

    fn key(i: u32) -> FlowKey {
        FlowKey::new(Address::from_words([0, 0, 1, i]), i as u16, 7)
    }

    fn filter(i: u32) -> Filter {
        Filter { handoff_seq: i, state: state::ESTABLISHED, ..Filter::default() }
    }

    #[test]
    fn a_filter_is_written_read_and_removed() {
        let Some(table) = table(16) else { return };
        assert_eq!(table.lookup(&key(1)).unwrap(), None);
        table.update(&key(1), &filter(1)).unwrap();
        assert_eq!(table.lookup(&key(1)).unwrap(), Some(filter(1)));
        assert!(table.delete(&key(1)).unwrap());
        assert!(!table.delete(&key(1)).unwrap());
    }

    #[test]
    fn a_batch_is_written_scanned_and_removed() {
        let Some(table) = table(8192) else { return };
        let keys: Vec<_> = (0..5000).map(key).collect();
        let filters: Vec<_> = (0..5000).map(filter).collect();
        assert_eq!(table.update_batch(&keys, &filters), 0);
        let mut cursor = Cursor::default();
        let mut found = Vec::new();
        let mut calls = 0;
        while !cursor.is_done() {
            table.scan(&mut cursor, &mut found).unwrap();
            calls += 1;
        }
        assert!((4..=20).contains(&calls), "{calls} calls");
        assert_eq!(found.len(), 5000);
        assert!(found.iter().all(|(found, value)| *found == key(value.handoff_seq)));
        assert_eq!(found.iter().map(|(key, _)| *key).collect::<HashSet<_>>().len(), 5000);
        assert!(keys.iter().all(|key| table.delete(key).unwrap()));
        assert!(!keys.iter().any(|key| table.delete(key).unwrap()));
        table.scan(&mut Cursor::default(), &mut Vec::new()).unwrap();
    }

    #[test]
    fn a_full_table_refuses_only_what_has_no_room() {
        let Some(table) = table(8) else { return };
        let keys: Vec<_> = (0..12).map(key).collect();
        let filters: Vec<_> = (0..12).map(filter).collect();
        assert_eq!(table.update_batch(&keys, &filters), 4);
        assert_eq!(table.update_batch(&keys[..8], &filters[..8]), 0);
    }

    #[test]
    fn a_per_cpu_array_gives_each_key_once_for_each_cpu() {
        let Some(fd) = create(PER_CPU_ARRAY, 4, size_of::<ClassStats>(), 1500) else { return };
        let table = Table::<u32, ClassStats>::per_cpu(fd.as_fd()).unwrap();
        let (mut cursor, mut found) = (Cursor::default(), Vec::new());
        while !cursor.is_done() {
            table.scan(&mut cursor, &mut found).unwrap();
        }
        let cpus = nr_cpus().unwrap();
        assert_eq!(found.len(), 1500 * cpus);
        assert!(found.iter().enumerate().all(|(i, (key, _))| *key as usize == i / cpus));
    }
}
