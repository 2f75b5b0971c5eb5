//! A real Apache Kafka for tests: one broker in KRaft mode, from the jars of Maven Central.
//!
//! The jars are installed once into `target/kafka/`, by Maven (`mvn`) or whoever put them there.
//! Each [`KafkaServer`] has its own folder and free ports, and is stopped and removed when it is
//! dropped. If it cannot be installed or started, that is an error which says what is missing: no
//! test is passed over quietly.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use super::port::free_port;

/// The version that is installed.
pub const VERSION: &str = "3.9.1";

/// A user of [`KafkaServer`]s with logins.
pub const USER: &str = "reader";
/// The user's password.
pub const PASSWORD: &str = "open-sesame-1234";

/// How long a broker may take to start on a busy machine.
const START: Duration = Duration::from_secs(120);

/// A running broker.
pub struct KafkaServer {
    process: Option<Child>,
    folder: PathBuf,
    ports: Ports,
}

#[derive(Clone, Copy)]
struct Ports {
    plain: u16,
    controller: u16,
    sasl: u16,
    tls: u16,
}

impl KafkaServer {
    /// Installs Kafka if need be, and starts a broker.
    pub fn start() -> Result<KafkaServer, String> {
        KafkaServer::start_with(&[])
    }

    /// A broker that tests share while any of them holds it.
    pub fn shared() -> Result<Arc<KafkaServer>, String> {
        static SHARED: Mutex<Weak<KafkaServer>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().map_err(|error| error.to_string())?;
        if let Some(server) = shared.upgrade() {
            return Ok(server);
        }
        let server = Arc::new(KafkaServer::start()?);
        *shared = Arc::downgrade(&server);
        Ok(server)
    }

    /// The same, with settings of the broker (`name=value`) beside ours.
    pub fn start_with(settings: &[&str]) -> Result<KafkaServer, String> {
        install()?;
        let ports = Ports {
            plain: free_port(),
            controller: free_port(),
            sasl: free_port(),
            tls: free_port(),
        };
        let folder =
            std::env::temp_dir().join(format!("kafka-{}-{}", std::process::id(), ports.plain));
        let mut server = KafkaServer {
            process: None,
            folder,
            ports,
        };
        server.prepare(settings)?;
        server.launch()?;
        Ok(server)
    }

    /// `127.0.0.1:port`, without login.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.ports.plain)
    }

    /// The same with login: SASL PLAIN and SCRAM-SHA-256/512 of [`USER`].
    pub fn sasl_brokers(&self) -> String {
        format!("127.0.0.1:{}", self.ports.sasl)
    }

    /// The same with TLS and login; the certificate is for `localhost`, by the authority in
    /// [`KafkaServer::ca`].
    pub fn tls_brokers(&self) -> String {
        format!("localhost:{}", self.ports.tls)
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Kills the broker, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.stdin.take());
            let _ = process.wait();
        }
    }

    /// Starts it again after [`KafkaServer::kill`], with its data and ports.
    pub fn restart(&mut self) -> Result<(), String> {
        self.kill();
        self.launch()
    }

    fn prepare(&self, settings: &[&str]) -> Result<(), String> {
        fs::create_dir_all(&self.folder)
            .map_err(|error| format!("{} cannot be made: {error}", self.folder.display()))?;
        self.make_certificates()?;
        let Ports {
            plain,
            controller,
            sasl,
            tls,
        } = self.ports;
        let folder = self.folder.display();
        let mut properties = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},SASL_PLAINTEXT://127.0.0.1:{sasl},SASL_SSL://127.0.0.1:{tls}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},SASL_SSL://localhost:{tls}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL\n\
             inter.broker.listener.name=PLAINTEXT\n\
             log.dirs={folder}/log\n\
             offsets.topic.replication.factor=1\n\
             offsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=1\n\
             group.initial.rebalance.delay.ms=0\n\
             auto.create.topics.enable=false\n\
             log.retention.check.interval.ms=1000\n\
             log.cleaner.backoff.ms=200\n\
             log.cleaner.dedupe.buffer.size=4194304\n\
             ssl.keystore.type=PKCS12\n\
             ssl.keystore.location={folder}/server.p12\n\
             ssl.keystore.password={PASSWORD}\n\
             ssl.key.password={PASSWORD}\n\
             sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n"
        );
        let plain_login = format!(
            "org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";"
        );
        let scram_login = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
        for listener in ["sasl_plaintext", "sasl_ssl"] {
            for (mechanism, login) in [
                ("plain", plain_login.as_str()),
                ("scram-sha-256", scram_login),
                ("scram-sha-512", scram_login),
            ] {
                properties.push_str(&format!(
                    "listener.name.{listener}.{mechanism}.sasl.jaas.config={login}\n"
                ));
            }
        }
        for setting in settings {
            properties.push_str(setting);
            properties.push('\n');
        }
        let file = self.properties();
        fs::write(&file, properties)
            .map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
        let mut format = java();
        format.args(["kafka.tools.StorageTool", "format"]);
        // Any 16 bytes in base64 name a cluster.
        format
            .args(["-t", "cGluZmxvdy10ZXN0cy0wMQ", "-c"])
            .arg(&file);
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let credential = format!("{mechanism}=[name={USER},password={PASSWORD}]");
            format.args(["--add-scram", &credential]);
        }
        run(&mut format, "formatting Kafka's storage")
    }

    /// An authority that signs a certificate for `localhost`.
    fn make_certificates(&self) -> Result<(), String> {
        let keytool = |arguments: &[&str]| {
            let mut command = Command::new("keytool");
            command.current_dir(&self.folder).args(arguments);
            run(&mut command, "making certificates with keytool")
        };
        let key = [
            "-genkeypair",
            "-keyalg",
            "RSA",
            "-keysize",
            "2048",
            "-validity",
            "30",
        ];
        let store = [
            "-storetype",
            "PKCS12",
            "-storepass",
            PASSWORD,
            "-keypass",
            PASSWORD,
        ];
        let pass = ["-storepass", PASSWORD];
        let args = |parts: &[&[&'static str]]| parts.concat();
        keytool(&args(&[
            &key,
            &store,
            &[
                "-alias",
                "ca",
                "-dname",
                "CN=test authority",
                "-ext",
                "bc:c",
                "-keystore",
                "ca.p12",
            ],
        ]))?;
        keytool(&args(&[
            &[
                "-exportcert",
                "-rfc",
                "-alias",
                "ca",
                "-keystore",
                "ca.p12",
                "-file",
                "ca.pem",
            ],
            &pass,
        ]))?;
        keytool(&args(&[
            &key,
            &store,
            &[
                "-alias",
                "server",
                "-dname",
                "CN=localhost",
                "-keystore",
                "server.p12",
            ],
        ]))?;
        keytool(&args(&[
            &[
                "-certreq",
                "-alias",
                "server",
                "-keystore",
                "server.p12",
                "-file",
                "server.csr",
            ],
            &pass,
        ]))?;
        keytool(&args(&[
            &[
                "-gencert",
                "-alias",
                "ca",
                "-keystore",
                "ca.p12",
                "-infile",
                "server.csr",
                "-outfile",
                "server.pem",
            ],
            &[
                "-rfc",
                "-validity",
                "30",
                "-ext",
                "san=dns:localhost,ip:127.0.0.1",
            ],
            &pass,
        ]))?;
        keytool(&args(&[
            &[
                "-importcert",
                "-noprompt",
                "-alias",
                "ca",
                "-file",
                "ca.pem",
                "-keystore",
                "server.p12",
            ],
            &pass,
        ]))?;
        keytool(&args(&[
            &[
                "-importcert",
                "-noprompt",
                "-alias",
                "server",
                "-file",
                "server.pem",
                "-keystore",
                "server.p12",
            ],
            &pass,
        ]))
    }

    fn launch(&mut self) -> Result<(), String> {
        let output = self.folder.join("server.log");
        let log = File::create(&output).map_err(|error| error.to_string())?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        // The broker ends when its standard input does: also when this process is killed.
        let guarded =
            "exec 3<&0; \"$@\" </dev/null 3<&- & p=$!; (read -r _ <&3; kill -9 $p) & wait $p";
        let java = java();
        let process = Command::new("sh")
            .args(["-c", guarded, "kafka"])
            .arg(java.get_program())
            .args(java.get_args())
            .arg("kafka.Kafka")
            .arg(self.properties())
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("java cannot be run: {error}"))?;
        let process = self.process.insert(process);
        let deadline = Instant::now() + START;
        loop {
            if let Ok(Some(status)) = process.try_wait() {
                return Err(format!("Kafka ended with {status}: {}", tail(&output)));
            }
            let text = fs::read_to_string(&output).unwrap_or_default();
            let address = ([127, 0, 0, 1], self.ports.plain).into();
            if text.contains("Kafka Server started")
                && TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "Kafka did not start in {START:?}: {}",
                    tail(&output)
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn properties(&self) -> PathBuf {
        self.folder.join("server.properties")
    }
}

impl Drop for KafkaServer {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Where the jars are: `target/kafka/` of the package, or what KAFKA_JARS says.
fn home() -> PathBuf {
    match std::env::var_os("KAFKA_JARS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/kafka"),
    }
}

/// Installs the jars unless they are there.
fn install() -> Result<(), String> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().map_err(|error| error.to_string())?;
    let mut version = Command::new("java");
    version.arg("-version");
    run(
        &mut version,
        "looking for Java 17 (`java -version`), which Kafka needs",
    )?;
    let home = home();
    let done = home.join(format!("{VERSION}.installed"));
    if done.is_file() {
        return Ok(());
    }
    fs::create_dir_all(&home).map_err(|error| error.to_string())?;
    let project = format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n\
         <modelVersion>4.0.0</modelVersion><groupId>local</groupId><artifactId>kafka-server</artifactId><version>1</version>\n\
         <dependencies>\n\
         <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>\n\
         <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>\n\
         </dependencies></project>\n"
    );
    fs::write(home.join("pom.xml"), project).map_err(|error| error.to_string())?;
    let mut maven = Command::new("mvn");
    maven.current_dir(&home);
    maven.args([
        "-q",
        "-B",
        "dependency:copy-dependencies",
        "-DoutputDirectory=libs",
        "-DincludeScope=runtime",
    ]);
    run(
        &mut maven,
        "installing Kafka's jars from Maven Central with `mvn`",
    )?;
    fs::write(&done, VERSION).map_err(|error| error.to_string())
}

fn java() -> Command {
    let mut command = Command::new("nice");
    command.args([
        "-n",
        "10",
        "java",
        "-Xms128m",
        "-Xmx768m",
        "-XX:+UseSerialGC",
    ]);
    // Logs go to standard error in one line each; their text tells when the server is ready.
    command.args([
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
        "-Dorg.slf4j.simpleLogger.log.org.apache.zookeeper=warn",
    ]);
    command
        .arg("-cp")
        .arg(format!("{}/*", home().join("libs").display()));
    command
}

fn run(command: &mut Command, what: &str) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{what}: {:?} cannot be run: {error}", command.get_program()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{what} failed ({}):\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

fn tail(file: &Path) -> String {
    let mut text = String::new();
    if let Ok(mut file) = File::open(file) {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(4000)));
        let _ = file.read_to_string(&mut text);
    }
    text
}
