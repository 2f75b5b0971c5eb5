//! The gateway in both forms.

use super::server::Gateway;
use super::*;

fn arrived(gateway: &Gateway, shared: bool) -> Arrived {
    let kept = gateway.kept();
    by_key(kept.iter().map(|kept| {
        let name = if shared {
            kept.key.as_deref().unwrap()
        } else {
            kept.name.as_str()
        };
        (name, kept.body.as_slice())
    }))
}

fn largest(gateway: &Gateway) -> usize {
    gateway
        .requests()
        .iter()
        .map(|(_, records)| *records)
        .max()
        .unwrap()
}

#[test]
fn topics_get_every_record_once_and_in_order_though_requests_fail() {
    for seed in [1, 2, 3] {
        let gateway = Gateway::start(seed, 15);
        let world = format!("--posts 400 --seed {seed} --duplicates 0.5 --updates 0.5");
        let posted = emulate(&format!(
            "--to http://{}/dev/topics/0a.* --batch 20 --in-flight 3 {world}",
            gateway.address
        ))
        .unwrap();
        let made = made(&world);
        assert_eq!(arrived(&gateway, false), made, "seed {seed}");
        assert_eq!(posted.acknowledged().iter().sum::<u64>(), count(&made));
        assert_eq!(posted.posts(), 400);
        assert!(posted.repeated() > 0 && largest(&gateway) == 20);
        assert!(gateway.kept().iter().all(|kept| {
            kept.key == crate::emulator::outgoing::key_of(&kept.body).map(|key| key.to_string())
                && kept.name.starts_with("0a.")
        }));
    }
}

#[test]
fn records_that_are_no_json_arrive_as_they_are() {
    let gateway = Gateway::start(1, 0);
    let world = "--posts 300 --broken 0.3";
    emulate(&format!(
        "--to http://{}/dev/topics?keys=none --batch 10 {world}",
        gateway.address
    ))
    .unwrap();
    let bodies = |records: Vec<String>| {
        let mut records = records;
        records.sort();
        records
    };
    let kept = gateway
        .kept()
        .iter()
        .map(|kept| kept.body.escape_ascii().to_string())
        .collect();
    assert_eq!(
        bodies(kept),
        bodies(made(world).into_values().flatten().collect())
    );
    assert!(gateway.kept().iter().all(|kept| kept.key.is_none()));
    let kinds = gateway.headers("content-type");
    assert!(
        kinds.iter().any(|kind| kind.contains("json.v2"))
            && kinds.iter().any(|kind| kind.contains("binary.v2"))
    );
}

#[test]
fn streams_of_their_own_get_every_record_once_and_in_order_though_requests_fail() {
    for batch in [1, 25] {
        let gateway = Gateway::start(4, 15);
        let world = "--posts 150 --duplicates 0.5";
        let posted = emulate(&format!(
            "--to http://{}/dev/streams/streaming-0a-* --batch {batch} {world}",
            gateway.address
        ))
        .unwrap();
        assert_eq!(arrived(&gateway, false), made(world), "batches of {batch}");
        assert_eq!(
            posted.acknowledged().iter().sum::<u64>() as usize,
            gateway.kept().len()
        );
        assert!(posted.repeated() > 0);
        let form = if batch == 1 { "/record" } else { "/records" };
        assert!(
            gateway
                .requests()
                .iter()
                .any(|(path, _)| path.ends_with(form))
        );
    }
}

#[test]
fn a_shared_stream_gets_every_record_with_a_partition_key_that_tells_its_stream() {
    let gateway = Gateway::start(5, 15);
    let world = "--posts 150";
    emulate(&format!(
        "--to http://{}/dev/streams/Kinesis-Prod-Stream?partition_key=0a_* --batch 25 {world}",
        gateway.address
    ))
    .unwrap();
    assert_eq!(arrived(&gateway, true), made(world));
    assert!(
        gateway
            .kept()
            .iter()
            .all(|kept| kept.name == "Kinesis-Prod-Stream")
    );
}

#[test]
fn base64_and_arrays_are_what_the_stream_holds() {
    for batch in [1, 10] {
        let gateway = Gateway::start(6, 0);
        let to = format!("http://{}/dev/streams/a-*", gateway.address);
        emulate(&format!(
            "--to {to} --batch {batch} --base64 --wrap --variants 0 --posts 20"
        ))
        .unwrap();
        for kept in gateway.kept() {
            use base64::Engine as _;
            let text: String = serde_json::from_slice(&kept.body).unwrap();
            let rows = base64::engine::general_purpose::STANDARD
                .decode(text)
                .unwrap();
            assert!(
                serde_json::from_slice::<Vec<serde_json::Value>>(&rows).unwrap()[0].is_object()
            );
        }
    }
}

#[test]
fn rows_come_in_the_order_of_the_original_script() {
    let gateway = Gateway::start(7, 0);
    let to = format!("http://{}/dev/topics/0a.*", gateway.address);
    let posted = emulate(&format!(
        "--to {to} --order canonical --seed 100 --posts 20 --batch 1 --in-flight 1 --dates iso"
    ))
    .unwrap();
    assert_eq!(posted.acknowledged(), [20; 3]);
    for stream in ["pin", "geo", "user"] {
        let kept = gateway.kept();
        let of_stream = kept.iter().filter(|kept| kept.name.ends_with(stream));
        let rows: Vec<u64> = of_stream
            .map(|kept| kept.key.as_ref().unwrap().parse().unwrap())
            .collect();
        assert_eq!(
            rows,
            [
                7528, 2863, 5730, 8304, 8731, 1313, 4315, 10794, 5494, 5069, 2923, 3089, 6063,
                3454, 7554, 6145, 10625, 2959, 9875, 2418
            ],
            "{stream}"
        );
    }
    let geo = gateway
        .kept()
        .into_iter()
        .find(|kept| kept.name.ends_with("geo"))
        .unwrap();
    let geo = String::from_utf8(geo.body).unwrap();
    assert!(geo.contains("T") && !geo.contains("-01 "), "{geo}");
}

#[test]
fn posts_with_a_pause_between_them_go_out_one_by_one() {
    let gateway = Gateway::start(8, 0);
    let to = format!("http://{}/dev/topics/0a.*", gateway.address);
    let posted = emulate(&format!("--to {to} --order rows-only --pause 0 --posts 10")).unwrap();
    assert_eq!(posted.acknowledged(), [10; 3]);
    assert_eq!(gateway.requests().len(), 30);
    assert_eq!(largest(&gateway), 1);
}

#[test]
fn a_record_that_is_refused_is_refused_alone_and_told() {
    let gateway = Gateway::start(9, 0);
    let to = format!("http://{}/dev/topics/strict.*", gateway.address);
    let calm = "--duplicates 0 --late 0 --updates 0 --variants 0";
    let error = emulate(&format!(
        "--to {to} --posts 40 --batch 10 --in-flight 1 {calm}"
    ))
    .unwrap_err();
    let EmulatorError::Undelivered { report, why } = error else {
        panic!("{error}")
    };
    assert_eq!(report.acknowledged(), [39, 40, 40]);
    assert_eq!(report.refused(), [1, 0, 0]);
    assert!(report.to_string().contains("thirteen") && why.contains("refused"));
}

#[test]
fn a_key_of_the_gateway_is_sent_and_a_wrong_one_ends_it_at_once() {
    let gateway = Gateway::start(10, 0);
    let to = format!("http://{}/dev/topics/0a.*", gateway.address);
    emulate(&format!("--to {to} --posts 3 --api-key right")).unwrap();
    assert!(
        gateway
            .headers("x-api-key")
            .iter()
            .all(|key| key == "right")
    );
    let requests = gateway.requests().len();
    let error = emulate(&format!("--to {to} --posts 1000 --api-key wrong"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("403") && error.contains("--api-key") && !error.contains("wrong"),
        "{error}"
    );
    assert!(error.contains("records not acknowledged"), "{error}");
    assert!(
        gateway.requests().len() - requests <= 12,
        "no more than were under way"
    );
}

#[test]
fn a_missing_path_ends_it_at_once() {
    let gateway = Gateway::start(11, 0);
    let error = emulate(&format!("--to http://{}/topics --posts 5", gateway.address)).unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
}

#[test]
fn where_nobody_listens_it_is_given_up_after_the_retries() {
    let error = emulate("--to http://127.0.0.1:1/topics --posts 5 --retries 2").unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("tried 3 times") && text.to_lowercase().contains("refused"),
        "{text}"
    );
    let EmulatorError::Undelivered { report, .. } = error else {
        panic!("{text}")
    };
    assert_eq!(report.acknowledged(), [0; 3]);
    assert!(report.unsettled().iter().all(|count| *count > 0));
}

#[test]
fn an_interrupted_posting_sends_what_it_has_begun_and_reports() {
    let gateway = Gateway::start(12, 10);
    let to = format!("http://{}/dev/topics/0a.*", gateway.address);
    let posted = emulate_until(&format!("--to {to} --rate 2000 --batch 50"), |records| {
        usize::from(records > 500)
    })
    .unwrap();
    assert!(posted.is_interrupted() && posted.to_string().contains("interrupted"));
    assert_eq!(posted.unsettled(), [0; 3]);
    assert_eq!(
        posted.acknowledged().iter().sum::<u64>() as usize,
        gateway.kept().len()
    );
}

#[test]
fn interrupted_where_nobody_listens_it_is_given_up_after_the_retries() {
    let error = emulate_until(
        "--to http://127.0.0.1:1/topics --posts 5000 --batch 500 --retries 3",
        |_| 1,
    )
    .unwrap_err();
    let EmulatorError::Undelivered { report, why } = error else {
        panic!("{error}")
    };
    assert!(why.contains("tried 4 times"), "{why}");
    assert!(report.is_interrupted());
    let made: u64 = report.unsettled().iter().sum();
    assert!(report.repeated() <= 4 * made, "no more than the retries");
}

#[test]
fn interrupted_twice_it_ends_at_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // It takes connections and never answers.
    let address = listener.local_addr().unwrap();
    let posted = emulate_until(&format!("--to http://{address}/topics --rate 100"), |_| 2).unwrap();
    assert!(posted.is_interrupted());
    assert_eq!(posted.acknowledged(), [0; 3]);
}
