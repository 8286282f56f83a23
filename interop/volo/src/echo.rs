//! The service: its code is made from `interop/echo.thrift`, and answers every method alike.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pilota::FastStr;
use tokio::sync::Notify;
use volo_thrift::{ApplicationException, ApplicationExceptionKind, ClientError, ServerError};

include!(concat!(env!("OUT_DIR"), "/echo_gen.rs"));

pub(crate) use echo_gen::echo::{Echo, EchoClient, EchoClientBuilder, EchoServer};

/// The server: it knows what it was told one way.
#[derive(Clone, Default)]
pub(crate) struct Told {
    counts: Arc<Mutex<HashMap<String, u32>>>,
    changed: Arc<Notify>,
    delay: Duration,
}

impl Told {
    /// One that answers after so long.
    pub(crate) fn after(delay: Duration) -> Told {
        Told { delay, ..Told::default() }
    }

    fn note(&self, text: &str) {
        *self
            .counts
            .lock()
            .expect("no panic while it is held")
            .entry(text.to_owned())
            .or_default() += 1;
        self.changed.notify_waiters();
    }

    /// How often that text came, once it has.
    async fn wait(&self, text: &str) -> u32 {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let count = self.counts.lock().expect("no panic while it is held").get(text).copied();
            if let Some(count) = count {
                return count;
            }
            changed.await;
        }
    }

    async fn answer(&self, text: FastStr) -> Result<FastStr, ServerError> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        if text == "fail" {
            let kind = ApplicationExceptionKind::MISSING_RESULT;
            return Err(ApplicationException::new(kind, "as asked").into());
        }
        if text == "metadata" {
            return Ok(crate::metadata::received().into());
        }
        match text.strip_prefix("told ") {
            Some(told) => Ok(self.wait(told).await.to_string().into()),
            None => Ok(text),
        }
    }
}

/// Each method, for servers and, by its name, for clients.
macro_rules! methods {
    (asks: $($ask:ident)*; tells: $($tell:ident)*) => {
        impl Echo for Told {
            $(async fn $ask(&self, text: FastStr) -> Result<FastStr, ServerError> {
                self.answer(text).await
            })*
            $(async fn $tell(&self, text: FastStr) -> Result<(), ServerError> {
                self.note(&text);
                Ok(())
            })*
        }

        /// Calls a method by its name.
        pub(crate) async fn call(
            client: &EchoClient,
            method: &str,
            text: FastStr,
        ) -> Result<FastStr, ClientError> {
            match method {
                $(stringify!($ask) => client.$ask(text).await,)*
                $(stringify!($tell) => client.$tell(text).await.map(|()| FastStr::empty()),)*
                _ => panic!("no method {method}"),
            }
        }
    };
}

methods! {
    asks: apache_framed_binary apache_framed_compact apache_buffered_binary apache_buffered_compact
        apache_theader thriftpy2_framed_binary thriftpy2_framed_compact thriftpy2_buffered_binary
        thriftpy2_buffered_compact npm_framed_binary npm_framed_compact npm_buffered_binary
        npm_buffered_compact npm_theader_binary volo_framed volo_buffered volo_ttheader
        volo_multiplexed nowhere;
    tells: tell_apache tell_thriftpy2 tell_npm tell_volo
}
