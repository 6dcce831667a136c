//! Tests of the report's form: round trip, refusals, and the choice of classes when space is short.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const KEY: [u8; 32] = [7; 32];

fn report(classes: Vec<ClassReport>, sequence: u64) -> Report {
    Report {
        server: "server1".into(),
        boot_id: u64::MAX,
        sequence,
        sent_at_ms: 1_800_000_000_000,
        queue: 3,
        load_us: 1234,
        accepted: 99,
        connections: 12,
        cpu_permille: 734,
        listen_overflows: 1,
        classes,
    }
}

fn class(class: u16, held: u32) -> ClassReport {
    ClassReport { class, held, service_us: 100_000 }
}

#[test]
fn a_report_comes_back_as_it_was() {
    let sent = report(vec![class(3, 2), class(0, 0)], 5);
    let bytes = sent.encode(&KEY);
    assert_eq!(Report::decode(&KEY, &bytes), Ok(sent));
    assert!(bytes.len() < 100, "{}", bytes.len());
}

#[test]
fn a_report_that_is_not_right_says_why() {
    let bytes = report(vec![class(3, 2)], 5).encode(&KEY);
    assert_eq!(Report::decode(&[8; 32], &bytes), Err(ReportError::BadTag));
    assert_eq!(Report::decode(&KEY, &bytes[..9]), Err(ReportError::Truncated(9)));
    assert_eq!(Report::decode(&KEY, &bytes[..16]), Err(ReportError::Truncated(16)));
    assert_eq!(Report::decode(&KEY, &bytes[..40]), Err(ReportError::BadTag));
    assert_eq!(Report::decode(&KEY, &[0; 1401]), Err(ReportError::TooLong(1401)));
    let mut other = bytes.clone();
    other[0] = 2;
    assert_eq!(Report::decode(&KEY, &other), Err(ReportError::Version(2)));
    let named = Report { server: "x".repeat(MAX_NAME_BYTES + 1), ..report(vec![], 1) };
    assert_eq!(Report::decode(&KEY, &named.encode(&KEY)), Err(ReportError::Malformed));
}

#[test]
fn busy_classes_go_first_and_idle_ones_take_turns() {
    let classes: Vec<_> = (0..1024).map(|i| class(i, u32::from(i % 32 == 0))).collect();
    let mut seen = HashSet::new();
    for sequence in 1000..1012 {
        let bytes = report(classes.clone(), sequence).encode(&KEY);
        assert!(bytes.len() <= MAX_REPORT_BYTES && bytes.len() > MAX_REPORT_BYTES - 20, "{}", bytes.len());
        let listed = Report::decode(&KEY, &bytes).unwrap().classes;
        assert_eq!(listed.iter().filter(|c| c.held > 0).count(), 32);
        seen.extend(listed.iter().map(|c| c.class));
    }
    assert_eq!(seen.len(), 1024);
}

proptest! {
    #[test]
    fn any_report_fits_and_any_flipped_bit_is_noticed(
        classes in prop::collection::vec((any::<u16>(), any::<u32>(), any::<u32>()), 0..400),
        sequence: u64, name in "[a-z]{0,64}", bit: prop::sample::Index,
    ) {
        let classes = classes.into_iter().map(|(class, held, service_us)| ClassReport { class, held, service_us });
        let report = Report { server: name, ..report(classes.collect(), sequence) };
        let mut bytes = report.encode(&KEY);
        prop_assert!(bytes.len() <= MAX_REPORT_BYTES);
        let decoded = Report::decode(&KEY, &bytes).unwrap();
        prop_assert!(decoded.classes.iter().all(|c| report.classes.contains(c)));
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Report::decode(&KEY, &bytes).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
        prop_assert!(Report::decode(&KEY, &bytes).is_err());
    }
}
