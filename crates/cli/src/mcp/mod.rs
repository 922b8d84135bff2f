//! The server of the Model Context Protocol, on standard input and output.
//!
//! The official SDK speaks the protocol, in every revision that it knows: with `initialize`, and since 2026-07-28
//! without. It runs on one thread; each call of a tool is the command of that name, on a thread of its own, because it
//! may wait for the store. This is the one place with an asynchronous runtime, and only this command starts it.

use std::io;
use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CancelledNotificationParam, Implementation, JsonRpcMessage,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::{NotificationContext, RequestContext, RoleServer, RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use rmcp::{ErrorData, ServerHandler};

mod answer;
mod connection;
mod tools;

pub(crate) use connection::Connection;

/// What every client tells its model once.
const INSTRUCTIONS: &str = "\
Several agents change this code at the same time. Reserve what you are about to change before you change it, and release \
it when you are done. What you reserve is kept alive while you are connected, and released when you go. If an answer has \
`lost`, somebody else may have changed that code: stop, and look at it again. `run_id` in each answer is who you are. If a \
hook or whoever started you gave you a run id, pass that as `run_id` in every call.";

/// What answers a client.
#[derive(Debug)]
pub(crate) struct Server {
    connection: Arc<Connection>,
}

impl Server {
    pub(crate) const fn new(connection: Arc<Connection>) -> Server {
        Server { connection }
    }
}

fn internal(message: impl Into<String>) -> ErrorData {
    ErrorData::internal_error(message.into(), None)
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("muse", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = tools::definitions().map_err(|error| internal(error.to_string()))?;
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(run) = tools::named(&request.name) else {
            let message = format!("there is no tool `{}`: see tools/list", request.name);
            return Err(ErrorData::invalid_params(message, None));
        };
        let client = context.client_info().map(|client| client.name).unwrap_or_default();
        let call_context = self.connection.context_of_call(&client);
        let call = self
            .connection
            .begin(context.id.clone())
            .map_err(|error| internal(format!("the call cannot be begun ({error}): try again")))?;
        if context.ct.is_cancelled() {
            self.connection.cancel(&context.id);
        }
        let arguments = request.arguments.unwrap_or_default();
        let answered =
            tokio::task::spawn_blocking(move || tools::answer(run, arguments, &call, &call_context)).await;
        match answered {
            Ok(Ok(Some((reply, beside)))) => Ok(reply.told_with(beside).into()),
            Ok(Ok(None)) => Err(internal("the wait was ended, and nothing was reserved")),
            Ok(Err(error)) => Err(internal(format!("the answer is no JSON: {error}"))),
            // It panicked, in a build that unwinds: the others go on. Where a panic ends the process, what was reserved
            // lapses within its TTL.
            Err(error) => Err(internal(format!("`{}` failed: {error}", request.name))),
        }
    }

    async fn on_cancelled(&self, cancelled: CancelledNotificationParam, _: NotificationContext<RoleServer>) {
        if let Some(id) = cancelled.request_id {
            let connection = Arc::clone(&self.connection);
            // It may wait for the store. Nobody waits for it.
            drop(tokio::task::spawn_blocking(move || connection.cancel(&id)));
        }
    }
}

/// What the SDK reads and writes, with two differences: the end of the input ends the waits at once, and what is no
/// request is passed over until there was one, where the SDK would end the connection.
pub(crate) struct Stream<T> {
    pub(crate) inner: T,
    pub(crate) connection: Arc<Connection>,
    pub(crate) has_begun: bool,
}

impl<T: Transport<RoleServer, Error = io::Error>> Transport<RoleServer> for Stream<T> {
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        self.inner.send(message)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            let received = self.inner.receive().await;
            match &received {
                None => self.connection.close(),
                Some(JsonRpcMessage::Request(_)) => self.has_begun = true,
                Some(_) if !self.has_begun => continue,
                Some(_) => {}
            }
            return received;
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.inner.close().await
    }
}
