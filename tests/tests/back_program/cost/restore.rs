//! The object of `restore.bpf.c`, and runs of a program by one system call, each with the same packet and the same entry of its flow.

use std::path::Path;

use aya::{
    Ebpf, EbpfLoader, Pod, TestRun, TestRunOptions,
    maps::{Array, ProgramArray},
    programs::{ProgramFd, SchedClassifier},
};
use dispatcher_common::{filter::FlowKey, server::ServerFlow};
use tests::clang;

/// `struct saved`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Saved {
    key: FlowKey,
    flow: ServerFlow,
}

// SAFETY: `repr(C)` of two such structures of integers without padding.
unsafe impl Pod for Saved {}

/// The loaded object.
pub(crate) struct Restore(Ebpf);

impl Restore {
    /// Loads the object; `flows` is where the server's map of flows is pinned. `None`, with a word on standard error, without clang.
    pub(crate) fn load(flows: &Path) -> Option<Self> {
        let object = compile()?;
        let mut restore =
            Self(EbpfLoader::new().map_pin_path("FLOWS", flows).load(&object).expect("the object loads"));
        for name in ["restore", "empty"] {
            restore.program(name).load().expect("the verifier accepts the program");
        }
        Some(restore)
    }

    fn program(&mut self, name: &str) -> &mut SchedClassifier {
        self.0.program_mut(name).unwrap().try_into().unwrap()
    }

    /// Says what each run finds.
    pub(crate) fn save(&mut self, key: FlowKey, flow: ServerFlow) {
        let mut map: Array<_, Saved> = self.0.map_mut("SAVED").unwrap().try_into().unwrap();
        map.set(0, Saved { key, flow }, 0).unwrap();
    }

    /// Mean time in nanoseconds of a run with a packet, net of a run of the empty program.
    pub(crate) fn net_ns(&mut self, program: &ProgramFd, frame: &[u8], repeat: u32) -> f64 {
        let empty = self.program("empty").fd().unwrap().try_clone().unwrap();
        let [floor, cost] = [&empty, program].map(|program| self.mean_ns(program, frame, repeat));
        cost - floor
    }

    fn mean_ns(&mut self, program: &ProgramFd, frame: &[u8], repeat: u32) -> f64 {
        let map = self.0.map_mut("MEASURED").unwrap();
        ProgramArray::try_from(map).unwrap().set(0, program, 0).unwrap();
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        self.program("restore").test_run(options).unwrap().duration.as_nanos() as f64
    }
}

/// The object's bytes.
fn compile() -> Option<Vec<u8>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/back_program/cost/restore.bpf.c");
    let object = Path::new(env!("CARGO_TARGET_TMPDIR")).join("restore.bpf.o");
    clang::compile(&source, &object).unwrap()
}
