//! Clients of `muse mcp`: the SDK's own, and one that writes the lines itself.

#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Stdio};

use muse_testkit::process::until;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, ClientConfig, ClientRequest, ErrorData,
    Implementation, ProtocolVersion, Tool,
};
use rmcp::service::{PeerRequestOptions, RequestHandle, RunningService};
use rmcp::transport::TokioChildProcess;
use rmcp::{ClientLifecycleMode, ClientServiceExt as _, RoleClient, ServiceError};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::support::Muse;

/// The name that the clients go by.
pub(crate) const NAME: &str = "a test/1";

/// The SDK's client, connected to a server of its own.
pub(crate) struct Client {
    runtime: Runtime,
    session: RunningService<RoleClient, ClientConfig>,
    pub(crate) server: u32,
}

/// What a tool answered.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) is_error: bool,
    pub(crate) report: Value,
}

impl Told {
    fn of(result: CallToolResult) -> Told {
        let report = result.structured_content.expect("structured content");
        let text = result.content[0].as_text().expect("text").text.clone();
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), report, "both forms say the same");
        let is_error = result.is_error.expect("a word on whether it is an error");
        assert_eq!(is_error, report["exit_code"] != 0, "{report}");
        Told { is_error, report }
    }

    pub(crate) fn status(&self) -> &str {
        self.report["status"].as_str().expect("a status")
    }

    pub(crate) fn id(&self) -> String {
        self.report["reservation_id"].as_str().unwrap_or_else(|| panic!("no id: {}", self.report)).to_owned()
    }

    pub(crate) fn run(&self) -> String {
        self.report["run_id"].as_str().expect("a run").to_owned()
    }

    pub(crate) fn error(&self) -> &str {
        assert!(self.is_error);
        self.report["error"].as_str().expect("an error")
    }
}

/// The lifecycle of the revisions up to 2025-11-25.
pub(crate) const OLD: ClientLifecycleMode = ClientLifecycleMode::Initialize;

/// That of 2026-07-28.
pub(crate) fn new() -> ClientLifecycleMode {
    ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
}

impl Client {
    pub(crate) fn connect(folder: &Path) -> Client {
        Client::of(Muse::in_folder(folder, &["mcp"]), OLD)
    }

    pub(crate) fn of(server: Muse, lifecycle: ClientLifecycleMode) -> Client {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let (session, server) = runtime.block_on(async {
            let command = tokio::process::Command::from(server.command);
            let transport = TokioChildProcess::new(command).expect("a server");
            let server = transport.id().expect("a process");
            let client = ClientConfig::new(<_>::default(), Implementation::new(NAME, "1"));
            (client.serve_with_lifecycle(transport, lifecycle).await.expect("a session"), server)
        });
        Client { runtime, session, server }
    }

    /// The name, the version and the instructions of the server, and the revision that was agreed on.
    pub(crate) fn server_says(&self) -> (String, String, String, String) {
        let info = self.session.peer_info().expect("what the server is");
        let server = info.server_info.clone().expect("its name");
        (
            server.name,
            server.version,
            info.instructions.clone().unwrap_or_default(),
            info.protocol_version.to_string(),
        )
    }

    pub(crate) fn tools(&self) -> Vec<Tool> {
        self.runtime.block_on(self.session.list_all_tools()).expect("tools")
    }

    fn request(tool: &str, arguments: &Value) -> CallToolRequestParams {
        let arguments = arguments.as_object().expect("an object").clone();
        CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments)
    }

    pub(crate) fn try_call(&self, tool: &str, arguments: &Value) -> Result<Told, ErrorData> {
        match self.runtime.block_on(self.session.call_tool(Client::request(tool, arguments))) {
            Ok(result) => Ok(Told::of(result)),
            Err(ServiceError::McpError(error)) => Err(error),
            Err(error) => panic!("{tool} {arguments}: {error}"),
        }
    }

    #[track_caller]
    pub(crate) fn call(&self, tool: &str, arguments: &Value) -> Told {
        self.try_call(tool, arguments).unwrap_or_else(|error| panic!("{tool} {arguments}: {error}"))
    }

    /// A call whose answer is `ok`.
    #[track_caller]
    pub(crate) fn ok(&self, tool: &str, arguments: &Value) -> Told {
        let told = self.call(tool, arguments);
        assert_eq!((told.status(), told.is_error), ("ok", false), "{}", told.report);
        told
    }

    #[track_caller]
    pub(crate) fn reserve(&self, address: &str) -> Told {
        self.ok("reserve", &json!({ "addresses": [address] }))
    }

    /// Begins a call, without waiting for its answer.
    pub(crate) fn begin(&self, tool: &str, arguments: &Value) -> RequestHandle<RoleClient> {
        let request = CallToolRequest::new(Client::request(tool, arguments));
        let request = ClientRequest::CallToolRequest(request);
        let begun = self.session.send_cancellable_request(request, PeerRequestOptions::no_options());
        self.runtime.block_on(begun).expect("it is sent")
    }

    pub(crate) fn cancel(&self, call: RequestHandle<RoleClient>) {
        self.runtime.block_on(call.cancel(None)).expect("it is sent");
    }

    /// What a call that was begun is answered.
    pub(crate) fn finish(&self, call: RequestHandle<RoleClient>) -> Told {
        match self.runtime.block_on(call.await_response()) {
            Ok(rmcp::model::ServerResult::CallToolResult(result)) => Told::of(result),
            other => panic!("{other:?}"),
        }
    }

    /// Goes, and waits for the server's end.
    pub(crate) fn go(self) {
        drop(self);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Before its folder is deleted.
        self.runtime.block_on(self.session.close()).map(drop).unwrap_or_default();
    }
}

/// A client that writes its lines itself.
pub(crate) struct Lines {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    errors: BufReader<ChildStderr>,
}

impl Lines {
    pub(crate) fn of(mut server: Muse) -> Lines {
        let command = server.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a server");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let errors = BufReader::new(child.stderr.take().expect("its errors"));
        Lines { child, input, output, errors }
    }

    pub(crate) fn connect(folder: &Path) -> Lines {
        let mut lines = Lines::of(Muse::in_folder(folder, &["mcp"]));
        lines.write(&initialize(0, "2025-11-25"));
        assert_eq!(lines.read()["result"]["serverInfo"]["name"], "muse");
        lines
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn write_text(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it is open");
        input.write_all(line.as_bytes()).and_then(|()| input.write_all(b"\n")).expect("it is read");
    }

    pub(crate) fn write(&mut self, message: &Value) {
        self.write_text(&message.to_string());
    }

    /// The next line, which is a JSON-RPC message.
    pub(crate) fn read(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert_eq!(message["jsonrpc"], "2.0");
        message
    }

    pub(crate) fn ask(&mut self, message: &Value) -> Value {
        self.write(message);
        self.read()
    }

    /// What the kernel does when the client ends, however it ends.
    pub(crate) fn close(&mut self) {
        self.input = None;
    }

    /// The first line on the standard error of what was started.
    pub(crate) fn first_error_line(&mut self) -> String {
        let mut line = String::new();
        self.errors.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// As [`Lines::end`], with what is on its standard error.
    pub(crate) fn end_with_errors(mut self) -> (Result<i32, i32>, String) {
        let mut errors = String::new();
        self.errors.read_to_string(&mut errors).expect("a text");
        (self.end(), errors)
    }

    /// Waits for the end of the server: its exit code, or the signal that ended it.
    pub(crate) fn end(mut self) -> Result<i32, i32> {
        let mut status = None;
        until("the server has ended", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        let status = status.expect("it has ended");
        status.code().ok_or_else(|| status.signal().unwrap_or_default())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

pub(crate) fn initialize(id: u64, version: &str) -> Value {
    json!({
        "jsonrpc": "2.0", "id": id, "method": "initialize",
        "params": { "protocolVersion": version, "capabilities": {}, "clientInfo": { "name": NAME, "version": "1" } },
    })
}

pub(crate) fn tool_call(id: u64, tool: &str, arguments: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool, "arguments": arguments } })
}

/// A request of 2026-07-28, which says by itself what `initialize` said before.
pub(crate) fn with_metadata(mut request: Value, version: &str) -> Value {
    request["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientInfo": { "name": NAME, "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    request
}
