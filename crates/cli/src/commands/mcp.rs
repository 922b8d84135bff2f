//! `muse mcp`.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rmcp::ServiceExt as _;
use rmcp::service::ServerInitializeError;
use rmcp::transport::async_rw::AsyncRwTransport;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::args::McpArgs;
use crate::context::Context;
use crate::error::{CommandError, Kind};
use crate::exit;
use crate::mcp::{Connection, Server, Stream};
use crate::output::{Screen, print_beside, print_status, print_warning};
use crate::wait::Interrupts;

/// For how long the end waits for the store. What is not released by then lapses.
const END_MAX: Duration = Duration::from_secs(5);

/// Serves one client, and returns the exit code.
pub(crate) fn run(args: &McpArgs, context: &Context) -> u8 {
    serve(args, context).unwrap_or_else(|error| fail(&error, context))
}

/// Says what went wrong where the client's user may see it: standard output is the protocol's.
fn fail(error: &CommandError, context: &Context) -> u8 {
    let mut screen = Screen::default();
    screen.error(&error.message);
    print_beside(&screen, context).unwrap_or_default();
    error.kind.word_and_code().1
}

fn serve(args: &McpArgs, context: &Context) -> Result<u8, CommandError> {
    let failed = |what: &str, error: io::Error| {
        CommandError::new(Kind::Internal, format!("{what} ({error}): try again"))
    };
    if context.is_interactive() {
        let line = "a program that speaks MCP is expected on standard input; Ctrl-D ends this";
        print_status(line, context).unwrap_or_default();
    }
    let interrupts = Interrupts::listen()?;
    let runtime = Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| failed("the runtime cannot be started", error))?;
    let connection = Arc::new(Connection::new(context.clone(), args.keep));
    let keeper = Arc::clone(&connection);
    let (sender, signalled) = oneshot::channel();
    thread::Builder::new()
        .name("keeper".to_owned())
        .spawn(move || keeper.keep_alive())
        .and_then(|_| {
            thread::Builder::new().name("signals".to_owned()).spawn(move || {
                let signal = interrupts.wait();
                // If the server has ended, nobody is told.
                sender.send(signal).unwrap_or_default();
            })
        })
        .map_err(|error| failed("a thread cannot be started", error))?;

    let code = runtime.block_on(async {
        let server = Server::new(Arc::clone(&connection));
        let (input, output) = rmcp::transport::io::stdio();
        let inner = AsyncRwTransport::new_server(input, output);
        let stream = Stream { inner, connection: Arc::clone(&connection), has_begun: false };
        let conversation = async {
            match server.serve(stream).await {
                Ok(running) => running.waiting().await.map(drop).map_err(|error| error.to_string()),
                // It came and went.
                Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        };
        let code = tokio::select! {
            ended = conversation => match ended {
                Ok(()) => exit::OK,
                Err(why) => fail(&CommandError::new(Kind::Usage, why), context),
            },
            signal = signalled => exit::SIGNALLED.saturating_add(signal.unwrap_or_default()),
        };
        let late = match timeout(END_MAX, spawn_blocking(move || connection.end())).await {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(error.message),
            Ok(Err(panicked)) => Some(panicked.to_string()),
            Err(_) => Some("the store was busy".to_owned()),
        };
        if let Some(why) = late {
            let line = format!("what is still reserved was not released, and lapses: {why}");
            print_warning(&line, context).unwrap_or_default();
        }
        code
    });
    // The read of standard input cannot be ended, and nothing is to be waited for any more.
    runtime.shutdown_background();
    Ok(code)
}
