//! Peak memory does not grow with what is written.

use crate::measure::{mib, run, time};
use crate::sandbox::Sandbox;
use crate::table::{Line, Table};

const MIB: u64 = 1 << 20;
const MAX_KIB: u64 = 16 * 1024;

const WHOLE_LINES: &str = "A line is decoded when it is whole, so what is there of a line under way is kept. With lines of 300 kB, \
100 instances can hold that much each at one moment, and they do: more is bounded by 4 MB a line and no more.";

/// A hundred instances of 100 MB, one of 10 GB, and a hundredth of both.
pub fn memory(table: &mut Table) {
    for (kind, count, each, what, has_aim) in [
        ("short", 100, 100 * MIB, "100 instances of 100 MB", true),
        ("short", 1, 10_240 * MIB, "one instance of 10 GB", true),
        ("long", 100, 10 * MIB, "100 instances of 10 MB in 300 kB lines", false),
        ("long", 1, 1024 * MIB, "one instance of 1 GB in 300 kB lines", false),
    ] {
        let sandbox = Sandbox::new();
        let cost = |bytes: u64| {
            let config = sandbox.instances(count, &format!("stream {kind} {bytes}"));
            run(sandbox.zen(&config).arg("--no-logs"))
        };
        let (hundredth, whole) = (cost(each / 100), cost(each));
        let ratio = whole.peak_kib as f64 / hundredth.peak_kib as f64;
        table.add(Line {
            what: format!("peak memory: {what}"),
            ratio: format!("{ratio:.2} × of a hundredth"),
            aim: has_aim.then_some(("under 16 MB, and the same", whole.peak_kib < MAX_KIB && ratio < 1.1)),
            zen: mib(whole.peak_kib),
            other: format!("a hundredth of it: {}", mib(hundredth.peak_kib)),
            alone: format!("{}, {}", time(whole.cpu), mib(whole.peak_kib)),
            note: if has_aim { "" } else { WHOLE_LINES },
        });
    }
}
