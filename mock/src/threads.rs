//! A mock's threads: each has a listener, a runtime and a flag of its own, and serves every
//! connection by a task.
//!
//! It knows no protocol: what a connection is served with is made on the thread that serves it, and
//! may be shared by all of that thread.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream as Bell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use monoio::io::AsyncReadRent as _;
use monoio::net::{ListenerOpts, TcpListener, TcpStream, UnixStream};

use crate::driver;
use crate::stop::Stop;

/// A mock that is answering. Dropping it stops it.
pub struct Running {
    /// The address it listens on, with the port the kernel chose.
    pub address: SocketAddr,
    counts: Arc<Counts>,
    doorbells: Vec<Bell>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// Requests whose head was read so far.
    pub fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::Relaxed)
    }

    /// Closes the listeners and every connection, and waits for the threads to end.
    pub fn stop(mut self) {
        self.end();
    }

    /// Answers until the process ends.
    pub fn join(mut self) {
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }

    fn end(&mut self) {
        for mut doorbell in self.doorbells.drain(..) {
            // The thread may have ended by itself; then nobody is left to hear it.
            drop(doorbell.write_all(b"."));
        }
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) connections: AtomicU64,
    pub(crate) requests: AtomicU64,
}

/// Where a mock listens, on how many threads, and the cores they are pinned to in turn.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) listen: SocketAddr,
    pub(crate) threads: usize,
    pub(crate) cpus: Vec<usize>,
}

/// What every protocol gets from the thread that it is served on.
#[derive(Clone)]
pub(crate) struct Thread {
    pub(crate) counts: Arc<Counts>,
    /// Ends the tasks; a connection that spawns some more runs them under it.
    pub(crate) stop: Rc<Stop>,
}

/// Starts the threads; `make` is called once on each, and what it returns for every connection.
/// Returns when all of them listen.
///
/// # Errors
/// The address cannot be bound, or neither io_uring nor epoll can be set up.
pub(crate) fn start<Make, Serve, Conn>(site: &Site, make: Make) -> io::Result<Running>
where
    Make: Fn(Thread) -> Serve + Clone + Send + 'static,
    Serve: Fn(TcpStream) -> Conn + 'static,
    Conn: Future<Output = ()> + 'static,
{
    let counts = Arc::new(Counts::default());
    let mut running =
        Running { address: site.listen, counts, doorbells: Vec::new(), threads: Vec::new() };
    for index in 0..site.threads.max(1) {
        // The first thread resolves port 0 for the others.
        let site = Site { listen: running.address, ..site.clone() };
        running.address = start_thread(index, site, make.clone(), &mut running)?;
    }
    Ok(running)
}

fn start_thread<Make, Serve, Conn>(
    index: usize,
    site: Site,
    make: Make,
    running: &mut Running,
) -> io::Result<SocketAddr>
where
    Make: Fn(Thread) -> Serve + Send + 'static,
    Serve: Fn(TcpStream) -> Conn + 'static,
    Conn: Future<Output = ()> + 'static,
{
    let (doorbell, ear) = Bell::pair()?;
    ear.set_nonblocking(true)?;
    let (report, bound) = sync_channel(1);
    let counts = Arc::clone(&running.counts);
    let thread = std::thread::Builder::new().name(format!("mock-{index}")).spawn(move || {
        if let Some(&cpu) = site.cpus.get(index % site.cpus.len().max(1)) {
            // A core that is not there costs speed, not correctness.
            let _ = monoio::utils::bind_to_cpu_set([cpu]);
        }
        run(&site, make, counts, ear, &report);
    })?;
    running.doorbells.push(doorbell);
    running.threads.push(thread);
    bound.recv().unwrap_or_else(|_| Err(io::Error::other("the mock's thread ended at start")))
}

/// The body of `mock-N`: binds, reports the address, serves until `ear` hears something.
fn run<Make, Serve, Conn>(
    site: &Site,
    make: Make,
    counts: Arc<Counts>,
    ear: Bell,
    report: &SyncSender<io::Result<SocketAddr>>,
) where
    Make: Fn(Thread) -> Serve,
    Serve: Fn(TcpStream) -> Conn + 'static,
    Conn: Future<Output = ()> + 'static,
{
    let ended = driver::block_on(|| async move {
        match bind(site) {
            Ok((listener, address)) => {
                drop(report.send(Ok(address)));
                let thread = Thread { counts, stop: Rc::new(Stop::default()) };
                let serve = make(thread.clone());
                serve_until(listener, thread, serve, ear).await;
            }
            Err(error) => drop(report.send(Err(error))),
        }
    });
    if let Err(error) = ended {
        drop(report.send(Err(error)));
    }
}

fn bind(site: &Site) -> io::Result<(TcpListener, SocketAddr)> {
    // With SO_REUSEPORT a busy port would be shared in silence, so only where it is needed.
    let settings = ListenerOpts::new().reuse_port(site.threads > 1).backlog(4096);
    let listener = TcpListener::bind_with_config(site.listen, &settings)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn serve_until<Serve, Conn>(listener: TcpListener, thread: Thread, serve: Serve, ear: Bell)
where
    Serve: Fn(TcpStream) -> Conn + 'static,
    Conn: Future<Output = ()> + 'static,
{
    let stop = Rc::clone(&thread.stop);
    monoio::spawn(async move {
        let accepting = accept(listener, &thread, serve);
        thread.stop.unless_raised(accepting).await;
    });
    if let Ok(mut ear) = UnixStream::from_std(ear) {
        drop(ear.read(vec![0u8; 1]).await);
    }
    stop.raise();
    while stop.task_count() > 0 {
        monoio::time::sleep(Duration::from_millis(1)).await;
    }
    // One more turn of the ring, so that the cancelled operations are reaped before it goes.
    monoio::time::sleep(Duration::from_millis(1)).await;
}

async fn accept<Serve, Conn>(listener: TcpListener, thread: &Thread, serve: Serve)
where
    Serve: Fn(TcpStream) -> Conn + 'static,
    Conn: Future<Output = ()> + 'static,
{
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: connections have to end before another can be had.
            monoio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        drop(stream.set_nodelay(true));
        thread.counts.connections.fetch_add(1, Ordering::Relaxed);
        thread.spawn(serve(stream));
    }
}

impl Thread {
    /// Runs a task until it ends or the mock is stopped.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let stop = Rc::clone(&self.stop);
        monoio::spawn(async move {
            stop.unless_raised(task).await;
        });
    }
}
