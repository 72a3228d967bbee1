//! What a gateway that runs takes over, and what it says of that.

use super::*;

#[test]
fn what_has_changed_in_the_settings_is_named() {
    let world = World::new("1");
    let mut gateway = world.start();
    world.configure("1", "3");
    let said = gateway.hears("gateway.reloaded");
    let none = serde_json::json!([]);
    assert_eq!((&said["added"], &said["removed"]), (&none, &none), "{said}");
    assert_eq!(said["changed"], serde_json::json!(["models.smol"]), "{said}");
    world.configure("", "3");
    assert_eq!(gateway.hears("gateway.reloaded")["removed"], serde_json::json!(["budget"]));
    gateway.signal(rustix::process::Signal::HUP);
    assert_eq!(gateway.hears("gateway.reloaded")["changed"], none);
    gateway.drain();
    // And as people read it.
    let mut child = world.folder.start(&["gateway", "--listen", "127.0.0.1:0", "--threads", "1"]);
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut until_said = |wanted: &str| {
        let mut line = String::new();
        while !line.contains(wanted) {
            line.clear();
            assert_ne!(std::io::BufRead::read_line(&mut said, &mut line).unwrap(), 0, "{wanted}");
        }
        line
    };
    until_said("Any API key");
    world.configure("2", "3");
    assert_eq!(until_said("Settings taken over"), "Settings taken over: added budget.\n");
    let lines = BufReader::new(child.stdout.take().unwrap());
    Gateway { child, port: 0, lines }.drain();
}

#[test]
fn a_certificate_that_is_renewed_needs_no_signal_and_half_of_one_keeps_the_old() {
    let world = World::new("");
    let path = world.folder.path();
    let files = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../wflo-proxy/tests/tls");
    let put = |from: &str, to: &str| std::fs::copy(files.join(from), path.join(to)).unwrap();
    put("cert.pem", "cert.pem");
    put("key.pem", "key.pem");
    let arguments = ["gateway", "--listen", "127.0.0.1:0", "--json", "--threads", "2"];
    let tls = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let mut child = world.folder.start(&[&arguments[..], &tls].concat());
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let first = line(&mut lines);
    assert_eq!(first["tls"], true, "{first}");
    let mut gateway = Gateway { child, port: 0, lines };
    put("renewed.pem", "cert.pem");
    let failed = gateway.hears("gateway.certificate_failed");
    assert_eq!(failed["errors"][0]["code"], "WFLO-4071", "{failed}");
    put("renewed-key.pem", "key.pem");
    gateway.hears("gateway.certificate_renewed");
    // Settings and certificate are two things.
    put("cert.pem", "key.pem");
    gateway.hears("gateway.certificate_failed");
    world.configure("1", "2");
    gateway.hears("gateway.reloaded");
    gateway.drain();
}

#[test]
fn a_way_that_cannot_be_is_a_mistake_of_the_file_with_its_line() {
    let world = World::new("");
    let before = world.folder.read("wflo.toml");
    let at = before.lines().count() + 1;
    for (more, told) in [
        (
            "[routes.spread]\ntargets = [{ provider = \"local\", model = \"unheard-of\" }]\n",
            "routes.\"spread\"",
        ),
        ("[models.\"other\"]\nfallbacks = [\"unheard-of\"]\n", "models.\"other\" names unheard-of"),
    ] {
        world.folder.write("wflo.toml", &format!("{before}{more}"));
        let ended = world.folder.run(&["gateway", "--listen", "127.0.0.1:0"]);
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        let place = format!("error: wflo.toml:{at}: {told}");
        assert!(ended.stderr.contains(&place) && ended.stderr.contains("WFLO-4082"), "{}", ended.stderr);
    }
    world.folder.write("wflo.toml", &before.replace("quick = \"smol\"", "quick = \"unheard-of\""));
    let ended = world.folder.run(&["gateway", "--listen", "127.0.0.1:0"]);
    assert!(ended.code == 2 && ended.stderr.contains("aliases.\"quick\" names "), "{}", ended.stderr);
}
