//! A real PostgreSQL: on a port of its own, in a folder of its own, and stopped by whoever has it.

use std::env;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::server::until;

/// The folders in which Debian has the programs of each version.
const FOLDERS: &str = "/usr/lib/postgresql";

/// What to do if they are not there.
const MISSING: &str =
    "apt-get install postgresql, or name the folder of its programs in CHINWAG_POSTGRES";

/// The user as whom it runs where it is started by root, which it refuses.
const USER: &str = "postgres";

/// A server with the database `chat`. It is stopped when it is dropped.
pub(crate) struct Database {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl Database {
    pub(crate) fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("chinwag-database-{}-{count}", std::process::id());
        let folder = env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let port = port.expect("a port").port();
        let mut database = Self { programs: programs(), folder, port, process: None };
        if is_root() {
            run(Command::new("chown").arg(USER).arg(&database.folder));
        }
        let mut make = database.program("initdb");
        make.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        run(make.args(["--username", USER, "--pgdata"]).arg(database.folder.join("data")));
        database.begin_again();
        database.tell_of("postgres", "CREATE DATABASE chat");
        database
    }

    /// It takes connections with TLS from now on, and no others. Returns the certificate's file.
    pub(crate) fn speak_tls(&mut self) -> PathBuf {
        self.end();
        let [key, certificate] = ["key.pem", "certificate.pem"].map(|name| self.folder.join(name));
        let mut make = Command::new("openssl");
        make.args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x",
        ]);
        make.args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=CA:FALSE",
        ]);
        run(make.arg("-keyout").arg(&key).arg("-out").arg(&certificate));
        if is_root() {
            run(Command::new("chown").arg(USER).args([&key, &certificate]));
        }
        run(Command::new("chmod").arg("600").arg(&key));
        let settings = format!(
            "ssl = on\nssl_key_file = '{}'\nssl_cert_file = '{}'\n",
            key.display(),
            certificate.display()
        );
        let data = self.folder.join("data");
        fs::write(data.join("postgresql.auto.conf"), settings).expect("it is written");
        // Whoever looks after it comes by its socket.
        let who = "hostssl all all 127.0.0.1/32 trust\nlocal all all trust\n";
        fs::write(data.join("pg_hba.conf"), who).expect("it is written");
        self.begin_again();
        certificate
    }

    /// It begins again with what it has.
    pub(crate) fn begin_again(&mut self) {
        let mut server = self.program("postgres");
        server.arg("-D").arg(self.folder.join("data")).arg("-k").arg(&self.folder);
        server.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        // What a crash of the machine would lose is not tried here.
        server.args(["-c", "fsync=off", "-c", "shared_buffers=16MB"]);
        server.stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(server.spawn().expect(MISSING));
        until("the database answers", || self.ask("postgres", "SELECT 1").status.success());
    }

    /// Ends it without letting anybody finish.
    pub(crate) fn end(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // Else its children go on.
        let _ = Command::new("kill").args(["-QUIT", &process.id().to_string()]).status();
        let _ = process.wait();
    }

    /// Where servers find it.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// What it answers: rows of a table, or why not.
    pub(crate) fn ask(&self, database: &str, sql: &str) -> Output {
        let mut command = Command::new(self.programs.join("psql"));
        command.arg("-h").arg(&self.folder).args(["-p", &self.port.to_string(), "-U", USER]);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]);
        command.output().expect(MISSING)
    }

    /// Tells it something, in one of its databases. Returns what it answers.
    pub(crate) fn tell_of(&self, database: &str, sql: &str) -> String {
        let output = self.ask(database, sql);
        let [said, why] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(output.status.success(), "{sql}: {why}");
        said.trim().to_owned()
    }

    /// The same in `chat`.
    pub(crate) fn tell(&self, sql: &str) -> String {
        self.tell_of("chat", sql)
    }

    /// One of its programs.
    fn program(&self, name: &str) -> Command {
        let program = self.programs.join(name);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(&self.folder);
        command
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.end();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id");
    id.stdout.trim_ascii() == b"0"
}

/// The folder of the programs of the newest version.
fn programs() -> PathBuf {
    if let Some(named) = env::var_os("CHINWAG_POSTGRES") {
        return named.into();
    }
    let versions = fs::read_dir(FOLDERS).unwrap_or_else(|_| panic!("no PostgreSQL: {MISSING}"));
    let versions = versions.filter_map(|version| {
        let version = version.ok()?.file_name().into_string().ok()?;
        let programs = Path::new(FOLDERS).join(&version).join("bin");
        Some((
            version.parse::<u32>().ok()?,
            programs.join("postgres").exists().then_some(programs)?,
        ))
    });
    versions.max().unwrap_or_else(|| panic!("no PostgreSQL: {MISSING}")).1
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect(MISSING);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
