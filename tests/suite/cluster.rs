//! The program on several processes: the same lake as one process makes.

use std::fs;

use super::program::{assert_same, files, finish, rows, run, source, world};

#[test]
fn several_processes_answer_as_one_does() {
    for (seed, processes, workers) in [(41, 2, 1), (42, 2, 2), (43, 3, 1)] {
        let world = world(
            600,
            &format!(
                "--layout topics --seed {seed} --late 0.2 --updates 0.1 --duplicates 0.1 --broken 0.02 --partitions 4"
            ),
        );
        let (one, many) = (world.path().join("one"), world.path().join("many"));
        finish(&run(&source(&world), &one, "--bounded -w 1"));
        let archive = world.path().join("archive");
        let options = format!("--bounded -w {workers} --archive {}", archive.display());
        let launch = run(&source(&world), &many, &options);
        finish(&launch.replacen("run", &format!("launch -n {processes}"), 1));
        assert_same(&rows(&many), &rows(&one));
        // And together they archive what one reads.
        let again = world.path().join("again");
        finish(&run(&archive, &again, "--bounded -w 2"));
        assert_same(&rows(&again), &rows(&one));
    }
}

#[test]
fn a_cluster_goes_on_where_another_number_of_processes_ended() {
    let world = world(
        500,
        "--layout topics --seed 44 --late 0.2 --updates 0.1 --duplicates 0.1 --partitions 3",
    );
    let (whole, lake) = (world.path().join("whole"), world.path().join("lake"));
    finish(&run(&source(&world), &whole, "--bounded -w 1"));
    let part = world.path().join("part");
    // The first files of every partition: what a first run finds.
    for (file, content) in files(&source(&world)) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let early = name
            .rsplit(['-', '+', '.'])
            .nth(1)
            .is_some_and(|number| number.parse::<u64>().is_ok_and(|number| number == 0));
        if early {
            let to = part.join(file.strip_prefix(source(&world)).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, content).unwrap();
        }
    }
    assert!(!files(&part).is_empty(), "there are first files");
    let archive = world.path().join("archive");
    let archived = format!("--bounded --archive {}", archive.display());
    finish(&run(&part, &lake, &format!("{archived} -w 2")));
    for (file, content) in files(&source(&world)) {
        let to = part.join(file.strip_prefix(source(&world)).unwrap());
        if !to.exists() {
            fs::write(to, content).unwrap();
        }
    }
    let launch = run(&part, &lake, &format!("{archived} -w 1"));
    finish(&launch.replacen("run", "launch -n 2", 1));
    assert_same(&rows(&lake), &rows(&whole));
    let again = world.path().join("again");
    finish(&run(&archive, &again, "--bounded"));
    assert_same(&rows(&again), &rows(&whole));
}
