//! The dashboard of the command line as those meet it who look at it, post to it, or mean it harm.

mod day;

#[test]
fn tmp() {
    let t = std::time::Instant::now();
    let lines = day::log(810);
    std::fs::write("/tmp/dash-day.jsonl", lines.join("\n") + "\n").unwrap();
    println!("{} lines {:?}", lines.len(), t.elapsed());
}
