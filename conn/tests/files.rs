//! A node that runs out of file descriptors (REGRESSIONS 7).

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use gim_proto::{client::Client, connect::PacketCommand};

const PATIENCE: Duration = Duration::from_secs(20);

struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        self.0.kill().expect("the node is ours to end");
        self.0.wait().expect("it has ended");
    }
}

#[test]
fn running_out_of_files_never_ends_accepting_and_it_resumes_by_itself() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\"", env!("CARGO_BIN_EXE_gim-conn")]).stderr(Stdio::piped());
    for (name, value) in [
        ("TCP__LISTEN", "127.0.0.1:0"),
        ("GRPC__LISTEN", "127.0.0.1:0"),
        ("ADMIN__LISTEN", ""),
        ("LOGIC", "[\"http://127.0.0.1:9\"]"),
        ("REACTORS", "1"),
        ("LIMITS__FILES_RESERVED", "0"),
        ("SESSION__SIGN_IN_TIMEOUT_MS", "60000"),
        ("TURN__ACCEPT_PAUSE_MS", "50"),
    ] {
        command.env(format!("GIM_CONN_{name}"), value);
    }
    let mut node = Node(command.spawn().unwrap());
    let mut log = BufReader::new(node.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let ready = log.find(|line| line.contains("clients on tcp ")).expect("it starts");
    let address: SocketAddr =
        ready.split("clients on tcp ").nth(1).and_then(|rest| rest.split(',').next()).unwrap().parse().unwrap();

    let mut clients: Vec<Client> = (0..80).map(|_| Client::connect(address, PATIENCE).unwrap()).collect();
    log.find(|line| line.contains("cannot accept connections")).expect("64 files are not enough for 80 clients");
    let mut waiting = clients.split_off(70);
    drop(clients);
    for client in &mut waiting {
        let reply = client.request(PacketCommand::PcHeartbeat as i32, Vec::new()).unwrap();
        assert_eq!(reply.code, 10000, "accepted without another connect to remind it");
    }
}
