//! From the command line to the first child, and plans that start nothing.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::child;
use crate::measure::{Cost, cpu_of, in_turn, median, middle, now, ratio, run, time, times};
use crate::rivals::{installed, missing, netra_zen};
use crate::sandbox::{Sandbox, instance};
use crate::table::{Line, Table};

const TIMES: usize = 31;
const TIMES_OF_THE_SLOW: usize = 3;

const TO_XARGS: &str = "The difference to `xargs` is what has the aim: both are started, start the same child, and the child \
notes the time. In that time zen reads and checks the config, makes the directory of the run and its report.json \
(`--no-logs` leaves these out); the child's reaper is a second fork.";

const LARGE: &str = "Read with the places of all values, checked, planned, and printed as a plan of 0.6 MB. It grows by the size and no \
faster.";

const ASKS_CLAUDE: &str = "This config restricts tools and dollars, so zen asks `claude --help` what it can; here that is the \
harness's child, which answers at once. With the real one it takes what that takes, half a second.";

/// Start to first fork.
pub fn start(table: &mut Table) {
    let sandbox = Sandbox::new();
    let stamp = sandbox.path("stamp");
    let role = format!("stamp {}", stamp.display());
    let config = sandbox.instances(1, &role);
    std::fs::write(sandbox.path("one"), "x\n").expect("a file");
    let until_child = |mut command: Command| {
        let _ = std::fs::remove_file(&stamp);
        let began = (now(), Instant::now());
        let mut child = command.env(child::ROLE, &role).spawn().expect("it starts");
        let text = loop {
            let text = std::fs::read_to_string(&stamp).unwrap_or_default();
            if text.ends_with('\n') {
                break text;
            }
            assert!(began.1.elapsed() < Duration::from_secs(60), "no child was started: {command:?}");
            std::thread::sleep(Duration::from_micros(200));
        };
        let cpu = cpu_of(child.id());
        child.wait().expect("it ends");
        let at = Duration::from_nanos(text.trim().parse().expect("a time"));
        Cost { wall: at.saturating_sub(began.0), cpu, peak_kib: 0 }
    };
    let xargs = || {
        let mut command = sandbox.command("xargs");
        command.arg(child::program()).stdin(std::fs::File::open(sandbox.path("one")).expect("a file"));
        command
    };
    let zen = |flags: &[&str]| {
        let mut command = sandbox.zen(&config);
        command.args(flags);
        command
    };
    let [bare, kept, beside, floor] = in_turn(
        TIMES,
        [
            &mut || until_child(zen(&["--no-logs"])),
            &mut || until_child(zen(&[])),
            &mut || until_child(xargs()),
            &mut || until_child(sandbox.command(child::program())),
        ],
    );
    for (costs, what) in [(&kept, "start to first fork"), (&bare, "the same with `--no-logs`")] {
        let more = median(costs).wall.as_secs_f64() - median(&beside).wall.as_secs_f64();
        let mut line = line(what, costs, &beside, "`xargs`", TO_XARGS);
        line.ratio = format!("{:+.2} ms ({})", more * 1000.0, line.ratio);
        line.aim = Some(("within 2 ms", more <= 0.002));
        table.add(line);
    }
    table.add(line("start to first fork", &kept, &floor, "floor: the child alone", ""));
    let slow = |name: &str, command: Option<&dyn Fn() -> Command>, table: &mut Table| match command {
        Some(command) => {
            let costs: Vec<Cost> = (0..TIMES_OF_THE_SLOW).map(|_| until_child(command())).collect();
            table.add(line("start to first fork", &kept[..TIMES_OF_THE_SLOW], &costs, name, ""));
        }
        None => table.add(absent("start to first fork", name)),
    };
    let parallel = installed("parallel").map(|program| {
        let one = sandbox.path("one");
        move |sandbox: &Sandbox| {
            let mut command = sandbox.command(&program);
            command.arg(child::program()).stdin(std::fs::File::open(&one).expect("a file"));
            command
        }
    });
    match &parallel {
        Some(parallel) => slow("GNU parallel", Some(&|| parallel(&sandbox)), table),
        None => slow("GNU parallel", None, table),
    }
    std::fs::write(
        sandbox.path("build.ninja"),
        format!("rule r\n  command = {}\nbuild a: r\n", child::program().display()),
    )
    .expect("a file");
    match installed("ninja") {
        Some(ninja) => slow("ninja", Some(&|| sandbox.command(&ninja)), table),
        None => slow("ninja", None, table),
    }
    let netra = || netra_zen(&sandbox, 1);
    match netra() {
        Some(_) => slow("netra-zen 1.4.2", Some(&|| netra().expect("it was there")), table),
        None => slow("netra-zen 1.4.2", None, table),
    }
}

/// Plans alone: the seed's config, and one of a megabyte.
pub fn plans(table: &mut Table) {
    let sandbox = Sandbox::new();
    let one = sandbox.path("one");
    std::fs::write(&one, "x\n").expect("a file");
    let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/valid_complex_config.json");
    let commands = sandbox.path("workspace/.claude/commands");
    std::fs::create_dir_all(&commands).expect("a directory");
    let dry_run = |config: &Path| {
        let mut command = sandbox.zen(config);
        command.arg("--dry-run");
        command
    };
    let xargs = || {
        let mut command = sandbox.command("xargs");
        command.arg("true").stdin(std::fs::File::open(&one).expect("a file"));
        command
    };
    let [zen, beside] = in_turn(TIMES, [&mut || run(&mut dry_run(&seed)), &mut || run(&mut xargs())]);
    let more = median(&zen).wall.as_secs_f64() - median(&beside).wall.as_secs_f64();
    let mut first = line("`--dry-run` of the seed's config", &zen, &beside, "`xargs true`", ASKS_CLAUDE);
    first.ratio = format!("{:+.2} ms ({})", more * 1000.0, first.ratio);
    first.aim = Some(("within 2 ms", more <= 0.002));
    table.add(first);

    let mut prompt = String::new();
    for word in 0..100 {
        let _ = write!(prompt, "word{word} ");
    }
    let with_prompt = |i| {
        let mut instance = instance(i, "answer");
        instance["prompt"] = json!(prompt);
        instance
    };
    let count = (1 << 20) / with_prompt(1000).to_string().len();
    let large = sandbox.config(&json!({ "instances": (0..count).map(with_prompt).collect::<Vec<_>>() }));
    let jq = || {
        let mut command = sandbox.command("jq");
        command.arg(".").arg(&large);
        command
    };
    let zen: Vec<Cost> = (0..TIMES).map(|_| run(&mut dry_run(&large))).collect();
    let took = median(&zen).wall;
    let what = format!("`--dry-run` of a 1 MB config, {count} instances");
    let mut second = if installed("jq").is_some() {
        let beside: Vec<Cost> = (0..7).map(|_| run(&mut jq())).collect();
        line(&what, &zen[..7], &beside, "`jq .`", LARGE)
    } else {
        Line { zen: time(took), alone: median(&zen).alone(), ..absent(&what, "jq") }
    };
    second.aim = Some(("in 10 ms", took <= Duration::from_millis(10)));
    table.add(second);
    for (config, what, zen) in [(&seed, "`--dry-run` of the seed's config", None), (&large, what.as_str(), Some(&zen))]
    {
        let run_netra = || {
            let mut command = netra_zen(&sandbox, 0)?;
            Some(run(command.arg("--config").arg(config).arg("--dry-run")))
        };
        let beside: Option<Vec<Cost>> = (0..TIMES_OF_THE_SLOW).map(|_| run_netra()).collect();
        let own: Vec<Cost> = zen.cloned().unwrap_or_else(|| (0..3).map(|_| run(&mut dry_run(config))).collect());
        table.add(match beside {
            Some(beside) => line(what, &own[..TIMES_OF_THE_SLOW], &beside, "netra-zen 1.4.2", ""),
            None => absent(what, "netra-zen 1.4.2"),
        });
    }
}

fn line(what: &str, zen: &[Cost], other: &[Cost], name: &str, note: &'static str) -> Line {
    let own = median(zen);
    let alone = if own.peak_kib > 0 { own.alone() } else { time(middle(zen.iter().map(|c| c.cpu))) };
    Line {
        what: what.to_owned(),
        ratio: times(ratio(zen, other, |c| c.wall)),
        aim: None,
        zen: time(own.wall),
        other: format!("{name}: {}", time(median(other).wall)),
        alone,
        note,
    }
}

fn absent(what: &str, name: &str) -> Line {
    let dash = String::from("–");
    Line {
        what: what.to_owned(),
        ratio: dash.clone(),
        aim: None,
        zen: dash.clone(),
        other: missing(name),
        alone: dash,
        note: "",
    }
}
