//! Rollouts step by step, with a hand that plays everybody else.

use super::*;

const NOW: &str = "2026-01-01T00:00:00Z";

fn deployment(replicas: i64, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": {"app": "web"}},
                         "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    })
}

/// Takes one step and plays everybody else: what is asked for happens, every pod
/// becomes ready. Says the sizes of the ReplicaSets by image.
fn turn(deployment: &mut Value, sets: &mut Vec<Value>) -> String {
    let views: Vec<&Value> = sets.iter().collect();
    for write in step(deployment, &views, NOW) {
        match write {
            Write::Create(mut set) => {
                set["metadata"]["uid"] = object::name(&set).into();
                sets.push(set);
            }
            Write::Status(new) => deployment["status"] = new["status"].clone(),
            Write::Update(new) if object::kind(&new) == "Deployment" => {
                deployment["metadata"] = new["metadata"].clone();
            }
            Write::Update(new) => {
                let name = object::name(&new).to_owned();
                let old = sets.iter_mut().find(|set| object::name(set) == name).unwrap();
                old["spec"] = new["spec"].clone();
                old["metadata"] = new["metadata"].clone();
            }
            Write::Delete(gone) => sets.retain(|set| object::name(set) != object::name(&gone)),
            other => panic!("{other:?}"),
        }
    }
    let mut sizes = Vec::new();
    for set in sets {
        let size = set["spec"]["replicas"].clone();
        set["status"] = json!({"replicas": size, "readyReplicas": size, "availableReplicas": size});
        let image = &set["spec"]["template"]["spec"]["containers"][0]["image"];
        sizes.push(format!("{}={size}", image.as_str().unwrap()));
    }
    sizes.join(" ")
}

fn settle(deployment: &mut Value, sets: &mut Vec<Value>) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let now = turn(deployment, sets);
        if seen.last() == Some(&now) {
            let again = turn(deployment, sets);
            assert_eq!(again, now);
            return seen;
        }
        seen.push(now);
    }
}

#[test]
fn a_new_template_grows_as_the_old_one_shrinks() {
    let (mut web, mut sets) = (deployment(3, "1"), Vec::new());
    assert_eq!(settle(&mut web, &mut sets), ["1=3"]);
    web["spec"]["template"]["spec"]["containers"][0]["image"] = "2".into();
    let seen = settle(&mut web, &mut sets);
    assert_eq!(seen, ["1=3 2=1", "1=2 2=1", "1=2 2=2", "1=1 2=2", "1=1 2=3", "1=0 2=3"]);
    assert_eq!(object::annotation(&web, REVISION), Some("2"));
    assert_eq!(object::condition(&web, "Progressing").unwrap()["reason"], "NewReplicaSetAvailable");
}

#[test]
fn going_back_uses_the_old_set_under_a_new_number() {
    let (mut web, mut sets) = (deployment(1, "1"), Vec::new());
    settle(&mut web, &mut sets);
    web["spec"]["template"]["spec"]["containers"][0]["image"] = "2".into();
    settle(&mut web, &mut sets);
    web["spec"]["template"]["spec"]["containers"][0]["image"] = "1".into();
    settle(&mut web, &mut sets);
    assert_eq!(sets.len(), 2);
    assert_eq!(object::annotation(&sets[0], REVISION), Some("3"));
}

#[test]
fn recreate_waits_until_the_old_pods_are_gone() {
    let (mut web, mut sets) = (deployment(2, "1"), Vec::new());
    web["spec"]["strategy"] = json!({"type": "Recreate"});
    settle(&mut web, &mut sets);
    web["spec"]["template"]["spec"]["containers"][0]["image"] = "2".into();
    assert_eq!(settle(&mut web, &mut sets), ["1=2 2=0", "1=0 2=0", "1=0 2=2"]);
}

#[test]
fn a_paused_deployment_scales_and_does_not_roll() {
    let (mut web, mut sets) = (deployment(2, "1"), Vec::new());
    settle(&mut web, &mut sets);
    web["spec"]["paused"] = true.into();
    web["spec"]["replicas"] = 4.into();
    web["spec"]["template"]["spec"]["containers"][0]["image"] = "2".into();
    assert_eq!(settle(&mut web, &mut sets), ["1=4"]);
}

#[test]
fn history_beyond_its_limit_is_forgotten() {
    let (mut web, mut sets) = (deployment(1, "0"), Vec::new());
    web["spec"]["revisionHistoryLimit"] = 1.into();
    for image in ["1", "2", "3"] {
        web["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
        settle(&mut web, &mut sets);
    }
    assert_eq!(sets.len(), 2);
}

#[test]
fn pods_that_never_become_ready_stop_the_roll_and_are_told_in_time() {
    let (mut web, mut sets) = (deployment(2, "1"), Vec::new());
    settle(&mut web, &mut sets);
    web["spec"]["template"]["spec"]["containers"][0]["image"] = "broken".into();
    web["metadata"]["generation"] = 2.into();
    turn(&mut web, &mut sets);
    sets[1]["status"] = json!({"replicas": 1});
    let at = |now: &str, web: &mut Value, sets: &[Value]| {
        let views: Vec<&Value> = sets.iter().collect();
        for write in step(web, &views, now) {
            match write {
                Write::Status(new) => web["status"] = new["status"].clone(),
                other => panic!("nothing else may change: {other:?}"),
            }
        }
        object::condition(web, "Progressing").unwrap()["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(at(NOW, &mut web, &sets), "ReplicaSetUpdated");
    assert_eq!(at("2026-01-01T00:09:00Z", &mut web, &sets), "ReplicaSetUpdated");
    assert_eq!(at("2026-01-01T00:11:00Z", &mut web, &sets), "ProgressDeadlineExceeded");
    assert_eq!(object::condition(&web, "Available").unwrap()["status"], "True");
}

#[test]
fn shares_are_rounded_up_for_surge_and_down_for_absence() {
    let (mut web, mut sets) = (deployment(3, "1"), Vec::new());
    web["spec"]["strategy"]["rollingUpdate"] = json!({"maxSurge": "25%", "maxUnavailable": "25%"});
    settle(&mut web, &mut sets);
    web["spec"]["template"]["spec"]["containers"][0]["image"] = "2".into();
    assert_eq!(turn(&mut web, &mut sets), "1=3 2=1");
}
