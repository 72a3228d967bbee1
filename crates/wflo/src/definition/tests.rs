//! What the reader of YAML definitions promises.

use serde_json::json;
use wflo_core::definition::Definition;

use super::*;

/// The example of the design.
const REPORT: &str = r#"
apiVersion: wflo.dev/v1
kind: Workflow
name: nightly-report
budget: {max_cost_usd: "5.00", alert_thresholds: [0.5, 0.9], action_on_exceeded: ask}
inputs: {text: {type: string, required: true}}
steps:
  - {name: summarise, type: agent, model: gpt-5-mini, prompt: "Summarise: {{ inputs.text }}", max_tokens: 400}
  - {name: worth_it, type: condition, when: "outputs.summarise.cost_usd < 1.0"}
  - {name: sign_off, type: approval, approvers: [ops-team], timeout: 1h, on_timeout: escalate}
  - {name: publish, type: tool, run: [python, publish.py], depends_on: [worth_it, sign_off], rollback_enabled: true}
"#;

fn wrong(text: &str) -> (u16, String, String, Option<String>) {
    let error = DefinitionError::from(to_json("flow.yaml", text).unwrap_err());
    let failure = error.to_failure();
    (error.code().0, failure.place.unwrap(), failure.message, failure.hint)
}

fn with_steps(steps: &str) -> String {
    format!("apiVersion: wflo.dev/v1\nkind: Workflow\nname: w\nsteps:\n{steps}")
}

#[test]
fn the_designs_example_is_a_valid_definition() {
    let json = to_json("flow.yaml", REPORT).unwrap();
    assert_eq!(json["steps"][0]["depends_on"], json!([]));
    assert_eq!(json["steps"][1]["depends_on"], json!(["summarise"]));
    assert_eq!(json["steps"][3]["depends_on"], json!(["worth_it", "sign_off"]));
    assert_eq!(json["steps"][3]["place"], "flow.yaml:11");
    assert_eq!(json["budgets"][0]["max_cost_usd"], "5.00");
    let definition = Definition::parse(&json).unwrap();
    assert_eq!(definition.steps.len(), 4);
}

#[test]
fn every_key_of_the_surface_is_carried_over() {
    let text = r#"
apiVersion: wflo.dev/v1
kind: Workflow
name: everything
version: 3
timeout: 2h
budgets: [{max_cost_usd: 1.5, per: day}, {max_cost_usd: 9, per: agent, agent: writer}]
sandbox: {memory_limit: 512m, cpu_limit: 0.5, pids_limit: 64, disk_limit: 1g, inodes_limit: 900, io: {read: 50m, write: 1048576, read_ops: 9}, network: {sent: 10m, requests: 7}, timeout_seconds: 30, allow_hosts: [a.example], env: [LANG], hide: [notes]}
policies:
  - {name: dear, condition: "estimated_cost > 100", actions: [{type: require_approval, approvers: [finance]}, {type: notify, channel: "slack://x"}]}
steps:
  - name: write
    type: agent
    model: m
    prompt: p
    system: s
    temperature: 0.2
    agent: writer
    retries: 2
    retry_backoff: {initial_seconds: 0.5, factor: 3, max_seconds: 10, jitter: false}
    timeout: 90s
    budget: {max_cost_usd: "0.10"}
    approval: {approvers: [a], notify: ["slack://x"], when: start, timeout: 5m, on_timeout: hold}
  - {name: act, type: tool, run: [sh, -c, "true"], approval_required: true, effect_class: guarded, on_ambiguous: skip, cache: false}
"#;
    let json = to_json("flow.yaml", text).unwrap();
    let definition = Definition::parse(&json).unwrap();
    let write = &definition.steps[0];
    assert_eq!(definition.version.as_deref(), Some("3"));
    assert_eq!(definition.budgets.len(), 2);
    assert_eq!(definition.sandbox.cpu_limit.unwrap().0, 500);
    let io = definition.sandbox.io;
    assert_eq!((io.read.unwrap().0, io.write.unwrap().0), (50 << 20, 1 << 20));
    assert_eq!((io.read_ops, io.write_ops), (Some(9), None));
    assert_eq!(definition.sandbox.inodes_limit, Some(900));
    let network = definition.sandbox.network;
    assert_eq!((network.sent.unwrap().0, network.received, network.requests), (10 << 20, None, Some(7)));
    assert_eq!(definition.sandbox.allow_hosts, ["a.example"]);
    assert_eq!(write.timeout_seconds.unwrap().0, 90_000);
    assert_eq!(write.retry_backoff.as_ref().unwrap().initial_seconds.0, 500);
    assert_eq!(write.approval.as_ref().unwrap().timeout_seconds.unwrap().0, 300_000);
    assert!(definition.steps[1].approval.as_ref().unwrap().required);
    assert_eq!((write.cache, definition.steps[1].cache), (None, Some(false)));
}

#[test]
fn a_wrong_key_is_named_with_its_line_and_the_nearest_key() {
    let text = with_steps("  - name: a\n    type: agent\n    modle: m\n    prompt: p\n    model: m\n");
    let (code, place, message, hint) = wrong(&text);
    assert_eq!((code, place.as_str()), (1102, "flow.yaml:7"));
    assert_eq!(message, "there is no key `modle` in `steps[0]`");
    assert_eq!(hint.as_deref(), Some("did you mean `model`?"));
}

#[test]
fn a_key_of_another_step_type_is_refused() {
    let (code, place, ..) = wrong(&with_steps("  - {name: a, type: condition, when: 'true', retries: 2}\n"));
    assert_eq!((code, place.as_str()), (1102, "flow.yaml:5"));
}

#[test]
fn wrong_values_are_refused_where_they_stand() {
    for (steps, says) in [
        ("  - {name: a, type: tool, run: python x.py}\n", "must be a list of words"),
        ("  - {name: a, type: agnet, model: m, prompt: p}\n", "must be one of agent, tool"),
        ("  - {name: a, type: agent, model: m}\n", "`steps[0].prompt` is missing"),
        ("  - {name: a, type: agent, model: m, prompt: p, retries: -1}\n", "a whole number"),
        ("  - {name: a, type: agent, model: m, prompt: p, timeout: soon}\n", "is not a duration"),
        ("  - {name: a, type: agent, model: m, prompt: p, budget: {max_cost_usd: -1}}\n", "not negative"),
        ("  - {name: a, type: agent, model: m, prompt: p, timeout: 1s, timeout_seconds: 1}\n", "keep one"),
    ] {
        let (code, place, message, _) = wrong(&with_steps(steps));
        assert_eq!((code, place.as_str()), (1103, "flow.yaml:5"), "{message}");
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn what_belongs_to_a_later_release_is_refused_by_name() {
    let text = with_steps("  - {name: a, type: tool, run: [x]}\n")
        .replace("steps:", "sandbox: {network_enabled: true}\nsteps:");
    let (code, place, message, _) = wrong(&text);
    assert_eq!((code, place.as_str()), (1010, "flow.yaml:4"), "{message}");
    assert!(message.contains("sandbox.network_enabled"), "{message}");
}

#[test]
fn the_head_is_checked_first() {
    let (code, _, message, hint) = wrong("name: w\nsteps: []\n");
    assert_eq!((code, message.as_str()), (1103, "`apiVersion` is missing"));
    assert_eq!(hint.as_deref(), Some("add `apiVersion: wflo.dev/v1`"));
    assert_eq!(wrong("just text").0, 1103);
    assert_eq!(wrong("a: [").0, 1101);
}

/// The published schema and this reader agree on what a workflow is.
#[test]
fn the_published_schema_accepts_what_is_accepted_here() {
    let text = include_str!("../../../../docs/schemas/workflow.schema.json");
    let schema = jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap();
    let agent =
        |rest: &str| with_steps(&format!("  - {{name: a, type: agent, model: m, prompt: p{rest}}}\n"));
    let mut samples = vec![REPORT.to_owned(), with_steps("  - {name: a, type: tool, run: python}\n")];
    samples.extend(
        [
            "",
            ", retries: 2",
            ", retries: -1",
            ", retries: x",
            ", modle: m",
            ", timeout: 5m",
            ", timeout: 0",
            ", temperature: 3",
            ", max_tokens: 0",
            ", approval: {when: start, quorum: 2}",
            ", approval: {when: never}",
            ", approval_required: true",
            ", effect_class: guarded",
            ", effect_class: sure",
            ", cache: false",
            ", cache: never",
            ", budget: {max_cost_usd: 1}",
            ", budget: {max_cost_usd: -1}",
            ", budget: {}",
            ", budget: {max_cost_usd: 1, action_on_exceeded: stop}",
            ", budget: {max_cost_usd: 1, per: century}",
            ", retry_backoff: {factor: 0.5}",
            ", depends_on: a",
            ", run: [x]",
            ", rollback_enabled: maybe",
        ]
        .map(agent),
    );
    samples.extend(
        [
            "sandbox: {network_enabled: true}",
            "sandbox: {allow_hosts: [example.org]}",
            "sandbox: {cpu_limit: 0.5}",
            "sandbox: {ro: []}",
            "sandbox: {backend: docker}",
            "sandbox: {backend: e2b}",
            "sandbox: {backend: gvisor}",
            "sandbox: {io: {read: 50m, write: 1, read_ops: 2, write_ops: 3}}",
            "sandbox: {io: {read: 0}}",
            "sandbox: {io: {write_ops: 0}}",
            "sandbox: {io: {speed: 1}}",
            "sandbox: {io: 50m}",
            "sandbox: {inodes_limit: 5000}",
            "sandbox: {inodes_limit: 99}",
            "sandbox: {network: {sent: 10m, received: 1, requests: 2, connections: 3, requests_per_minute: 4}}",
            "sandbox: {network: {sent: 0}}",
            "sandbox: {network: {requests: 0}}",
            "sandbox: {network: {connections: 1001}}",
            "sandbox: {network: {speed: 1}}",
            "colour: red",
            "version: 3",
            "inputs: {x: {type: text}}",
            "inputs: {x: {type: string, default: 1}}",
        ]
        .map(|head| agent("").replace("steps:", &format!("{head}\nsteps:"))),
    );
    for sample in samples {
        let json = crate::document::yaml::parse("f", &sample).unwrap();
        let document = Field { path: String::new(), node: &json }.json();
        assert_eq!(schema.is_valid(&document), to_json("f", &sample).is_ok(), "{sample}");
    }
}

#[test]
fn a_reference_that_names_nothing_is_shown_where_it_is_written() {
    let text = with_steps(
        "  - name: classify\n    type: agent\n    model: m\n    prompt: hello\n  - name: check\n    \
         type: condition\n    when: >-\n      1 < 2 &&\n      outputs.clasify.text == 'x'\n",
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flow.yaml");
    std::fs::write(&path, text).unwrap();
    let DefinitionError::Invalid { problems } = load(&path, "flow.yaml").unwrap_err() else { panic!() };
    assert_eq!(problems[0].place.as_deref(), Some("flow.yaml:13:7"), "{problems:?}");
    assert_eq!(problems[0].hint.as_deref(), Some("did you mean `outputs.classify`?"));
}

#[test]
fn a_condition_that_is_not_cel_is_shown_where_it_is_written() {
    let policies = "policies:\n  - name: dear\n    condition: estimated_cost > 1.0 and cost > 1\n    \
                    actions: [{type: deny}]\nsteps:";
    let steps = "  - name: work\n    type: tool\n    run: [echo]\n  - name: check\n    type: condition\n    \
                 when: \"outputs.work.stdout = 'x'\"\n";
    let text = with_steps(steps).replace("steps:", policies);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flow.yaml");
    std::fs::write(&path, &text).unwrap();
    let DefinitionError::Invalid { problems } = load(&path, "flow.yaml").unwrap_err() else { panic!() };
    let place = |wanted: &str| {
        let (line, text) = text.lines().enumerate().find(|(_, line)| line.contains(wanted)).unwrap();
        Some(format!("flow.yaml:{}:{}", line + 1, text.find(wanted).unwrap() + 1))
    };
    assert_eq!(problems[0].place, place("and cost"), "{problems:?}");
    assert_eq!(problems[1].place, place("= 'x'"), "{problems:?}");
    let caret = "write `&&`\n  estimated_cost > 1.0 and cost > 1\n                       ^";
    assert!(problems[0].message.ends_with(caret), "{}", problems[0].message);
}
