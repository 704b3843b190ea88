//! How long a client is waited for: shortly for a head that has begun, longer for an idle connection.
//!
//! hyper has one timer for both, which starts when it waits for a head. This one asks, when it
//! runs out, whether any byte of a head has come.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// When the first byte of the head that is waited for came.
#[derive(Debug, Clone, Default)]
struct FirstByte(Arc<Mutex<Option<Instant>>>);

impl FirstByte {
    fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn note(&self) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            *first = Some(tokio::time::Instant::now().into_std());
        }
    }

    fn get(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The two waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// From the first byte of a head to its end.
    pub(super) head: Duration,
    /// With no byte of a head.
    pub(super) idle: Duration,
}

/// A connection with its timer.
pub(super) fn watched(stream: TcpStream, waits: Waits, unread: Duration) -> (Watched, HeadTimer) {
    let first_byte = FirstByte::default();
    (
        Watched {
            stream,
            patience: unread,
            unread: None,
            first_byte: first_byte.clone(),
        },
        HeadTimer { waits, first_byte },
    )
}

/// hyper's timer of one connection. Deadlines that it is given are not used: both waits are its own.
#[derive(Debug, Clone)]
pub(super) struct HeadTimer {
    waits: Waits,
    first_byte: FirstByte,
}

impl hyper::rt::Timer for HeadTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.first_byte.clear();
        let began = tokio::time::Instant::now();
        Box::pin(HeadWait {
            timer: self.clone(),
            began: began.into_std(),
            sleep: Box::pin(tokio::time::sleep_until(
                began + self.waits.head.min(self.waits.idle),
            )),
        })
    }

    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep(Duration::ZERO)
    }
}

struct HeadWait {
    timer: HeadTimer,
    began: Instant,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

impl hyper::rt::Sleep for HeadWait {}

impl Future for HeadWait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(context));
            let now = tokio::time::Instant::now().into_std();
            let waits = self.timer.waits;
            let idle_until = self.began + waits.idle;
            let until = match self.timer.first_byte.get() {
                Some(first) => first + waits.head,
                // A head that begins while this sleeps is late by less than its own wait.
                None if now < idle_until => idle_until.min(now + waits.head),
                None => return Poll::Ready(()),
            };
            if until <= now {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(until.into());
        }
    }
}

/// A connection that is given up when its peer stops reading.
pub(super) struct Watched {
    stream: TcpStream,
    patience: Duration,
    /// Runs while there is something that the peer does not take.
    unread: Option<Pin<Box<tokio::time::Sleep>>>,
    first_byte: FirstByte,
}

impl Watched {
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.unread = None;
            return written;
        }
        let patience = self.patience;
        let unread = self
            .unread
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(unread.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.first_byte.note();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
