//! What was ever written must be read for ever: the numbers and types of all fields, and a record of every
//! kind and version, are kept in `golden/`.
//!
//! A line that is missing from a file there is new: add it, as the test prints it. A line that the test
//! does not find any more was changed, and with it the meaning of what is stored already: give the field a
//! new number instead.

use std::collections::BTreeSet;
use std::path::Path;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto};
use seckill_proto::v1::{
    AcceptedLoss, Checkpoint, Coupon, CouponGrabbed, CouponsGranted, Event, FedPartition, FeedLoss,
    FeedProgress, Fence, PromotionChanged, PromotionChanges, PromotionFinished, PromotionPaused,
    PromotionRestocked, PromotionResumed, PromotionScheduled, PromotionSoldOut, PromotionStarted,
    Skip, SnapshotManifest, SnapshotPart, SnapshotSegment, Terms, event::Body,
};
use seckill_proto::{decode_record, decode_strictly, encode_event, encode_fence, encode_skip};

const FILES: [&str; 5] = [
    "seckill/v1/log.proto",
    "seckill/v1/command.proto",
    "seckill/v1/snapshot.proto",
    "seckill/v1/feed.proto",
    "seckill/v1/grabs.proto",
];

fn golden(name: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// Every field and value of an enum, a line each.
fn schema() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    let descriptors = protox::compile(FILES, [env!("CARGO_MANIFEST_DIR")]).expect("they compile");
    for file in descriptors.file {
        let package = file.package().to_owned();
        for message in &file.message_type {
            lines.extend(fields(&package, message));
        }
        for values in &file.enum_type {
            lines.extend(numbers(&package, values));
        }
    }
    lines
}

fn fields(package: &str, message: &DescriptorProto) -> Vec<String> {
    let line = |field: &FieldDescriptorProto| {
        let of = match field.r#type() {
            Type::Message | Type::Enum => field.type_name().trim_start_matches('.').to_owned(),
            plain => plain.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
        };
        let repeated = if field.label() == Label::Repeated { "repeated " } else { "" };
        let optional = if field.proto3_optional() { "optional " } else { "" };
        let number = field.number();
        let (message, field) = (message.name(), field.name());
        format!("{package}.{message} {number} {repeated}{optional}{of} {field}")
    };
    message.field.iter().map(line).collect()
}

fn numbers(package: &str, values: &EnumDescriptorProto) -> Vec<String> {
    let line = |value: &prost_types::EnumValueDescriptorProto| {
        format!("{package}.{} {} {}", values.name(), value.number(), value.name())
    };
    values.value.iter().map(line).collect()
}

#[test]
fn no_field_changes_its_number_or_its_type() {
    let (now, kept) = (schema(), golden("schema.txt"));
    let gone: Vec<_> = kept.difference(&now).collect();
    assert!(gone.is_empty(), "changed or removed: {gone:#?}");
    let new: Vec<_> = now.difference(&kept).map(String::as_str).collect();
    assert!(new.is_empty(), "new, to be added to golden/schema.txt:\n{}", new.join("\n"));
}

fn event(body: Body) -> Vec<u8> {
    let promotion_id = "spring".into();
    encode_event(Event {
        term: 3,
        seq: 9,
        at_ms: 1_794_391_200_123,
        promotion_id,
        body: Some(body),
    })
}

fn terms() -> Option<Terms> {
    Some(Terms {
        name: "Spring 春".into(),
        coupons: 5_000,
        discount: 0.15,
        starts_at_ms: 1_794_391_200_000,
        finishes_at_ms: Some(1_794_394_800_000),
        limit_per_customer: 2,
    })
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        next_offset: 41,
        term: Some(3),
        next_seq: 10,
        fence_id: vec![7; 16],
        history: u64::MAX - 5,
        history_before_last: 17,
    }
}

/// A record of every kind with every field set, as this version writes them.
fn records() -> Vec<(&'static str, Vec<u8>)> {
    let fence = Fence {
        fence_id: (0..16).collect(),
        node: "up-7".into(),
        endpoint: "http://127.0.0.1:8082".into(),
        accepted_loss: Some(AcceptedLoss { end: 40, refuted: vec![checkpoint()] }),
        clock_ms: Some(1_794_391_200_456),
    };
    let grabbed = CouponGrabbed {
        serial: 300,
        customer_id: "ann".into(),
        remaining: 4_700,
        idempotency_key: "k-1".into(),
    };
    let restocked = PromotionRestocked { coupons: 9_000, remaining: 8_700 };
    let skip = Skip {
        offset: 300,
        hash: u64::MAX - 7,
        by: "ann".into(),
        reason: "a test message of another program".into(),
        at_ms: 1_794_391_200_123,
    };
    vec![
        ("fence", encode_fence(fence)),
        ("skip", encode_skip(skip)),
        ("scheduled", event(Body::Scheduled(PromotionScheduled { terms: terms() }))),
        ("changed", event(Body::Changed(PromotionChanged { terms: terms() }))),
        ("started", event(Body::Started(PromotionStarted {}))),
        ("grabbed", event(Body::Grabbed(grabbed))),
        ("restocked", event(Body::Restocked(restocked))),
        ("finished", event(Body::Finished(PromotionFinished { reason: 1 }))),
        ("closed", event(Body::Finished(PromotionFinished { reason: 4 }))),
        ("sold-out", event(Body::SoldOut(PromotionSoldOut {}))),
        ("paused", event(Body::Paused(PromotionPaused {}))),
        ("resumed", event(Body::Resumed(PromotionResumed {}))),
    ]
}

/// The values of the tables beside the log.
fn values() -> Vec<(&'static str, Vec<u8>)> {
    let segment = SnapshotSegment {
        name: "s1".into(),
        part_crcs: vec![1, 2],
        checkpoint: Some(checkpoint()),
        at_ms: 1_794_391_200_123,
        records: 40,
        coupons: 30,
    };
    let grants = CouponsGranted {
        first_serial: 1,
        customer_ids: b"annbob".to_vec(),
        customer_id_lengths: vec![3, 3],
        at_ms_differences: vec![1_794_391_200_123, 4],
        keys: b"k-1".to_vec(),
        key_lengths: vec![3, 0],
    };
    let changes = PromotionChanges {
        promotion_id: "spring".into(),
        terms: terms(),
        coupons: Some(9_000),
        started: true,
        finished: Some(1),
        finished_at_ms: 1_794_391_200_999,
        archived: true,
        granted: 2,
        grants: Some(grants),
        paused: Some(true),
        sold_out_at_ms: Some(1_794_391_200_888),
    };
    let coupon = Coupon {
        id: "spring-300".into(),
        promotion_id: "spring".into(),
        serial: 300,
        customer_id: "ann".into(),
        discount: 0.15,
        granted_at_ms: 1_794_391_200_123,
        partition: 3,
        offset: 1_042,
    };
    let feed = FeedProgress {
        feed_end: 900,
        partitions: vec![FedPartition { checkpoint: Some(checkpoint()), fed: 44 }],
        losses: vec![FeedLoss { partition: 3, end: 40, feed_end: 800 }],
    };
    vec![
        ("manifest", SnapshotManifest { segments: vec![segment] }.encode_to_vec()),
        ("part", SnapshotPart { promotions: vec![changes] }.encode_to_vec()),
        ("checkpoint", checkpoint().encode_to_vec()),
        ("coupon", coupon.encode_to_vec()),
        ("feed", feed.encode_to_vec()),
    ]
}

fn line(name: &str, bytes: &[u8], read: &str) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name} {hex} {read}")
}

fn read(name: &str, bytes: &[u8]) -> String {
    match name {
        "manifest" => format!("{:?}", decode_strictly::<SnapshotManifest>(bytes).expect(name)),
        "part" => format!("{:?}", decode_strictly::<SnapshotPart>(bytes).expect(name)),
        "checkpoint" => format!("{:?}", decode_strictly::<Checkpoint>(bytes).expect(name)),
        "coupon" => format!("{:?}", decode_strictly::<Coupon>(bytes).expect(name)),
        "feed" => format!("{:?}", decode_strictly::<FeedProgress>(bytes).expect(name)),
        _ => format!("{:?}", decode_record(bytes).expect(name)),
    }
}

/// Each line is a name, what was written, and what it means. Lines of earlier versions stay.
#[test]
fn what_any_version_wrote_is_read_as_it_was_meant() {
    let kept = golden("records.txt");
    for kept in &kept {
        let mut parts = kept.splitn(3, ' ');
        let (name, hex) = (parts.next().expect("a name"), parts.next().expect("bytes"));
        let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(digits).collect();
        assert_eq!(Some(read(name, &bytes).as_str()), parts.next(), "{name}");
    }
    let now = records().into_iter().chain(values());
    let now: BTreeSet<_> =
        now.map(|(name, bytes)| line(name, &bytes, &read(name, &bytes))).collect();
    let new: Vec<_> = now.difference(&kept).map(String::as_str).collect();
    assert!(new.is_empty(), "new, to be added to golden/records.txt:\n{}", new.join("\n"));
}
