//! `PostgreSQL`, for a ledger that several instances share.

mod tls;

use std::{collections::HashMap, fmt::Write as _, str::FromStr as _, sync::Arc, time::Duration};

use distill_gateway::Secret;
use futures_util::future::try_join_all;
use tokio::sync::Mutex;
use tokio_postgres::{
    Client, Config,
    config::{Host, SslMode},
    types::{Format, IsNull, ToSql, Type},
};

use super::{
    Row, Statement, Value,
    schema::{TABLES, VERSION},
};
use crate::error::{Cause, LedgerError};

/// Instances that make the tables at once, or decide on reservations at once, take turns by this
/// lock of the database. The number means nothing; it only has to be the same everywhere.
pub(crate) const TURN: i64 = 0x6469_7374_696c_6c01;

/// Prepared statements that a connection keeps.
const MOST_PREPARED: usize = 200;

/// A database, by one connection that is made again when it is lost.
#[derive(Debug)]
pub(crate) struct Postgres {
    config: Config,
    name: String,
    connection: Mutex<Option<Connection>>,
}

#[derive(Debug)]
struct Connection {
    client: Client,
    prepared: HashMap<String, tokio_postgres::Statement>,
}

type Failed = tokio_postgres::Error;

/// How many of [`TABLES`] the database has been given.
const MADE: &str = "tables made";

/// How a transaction that moves money ended.
#[derive(Debug)]
pub(crate) enum Ended<T> {
    Committed(T),
    /// Nothing of it stands.
    Undone(String),
    /// The connection was lost while it was being committed.
    Unknown(T),
}

impl Postgres {
    /// Reads an address and makes the tables where there are none.
    pub(crate) async fn open(address: &Secret) -> Result<Self, LedgerError> {
        let mut config = Config::from_str(address.expose()).map_err(|_| LedgerError::Address {
            // The error's own words may quote the address, and with it the password.
            problem: "it is no PostgreSQL address".to_owned(),
        })?;
        notices_a_silent_server(&mut config);
        let database = Self {
            name: name(&config),
            config,
            connection: Mutex::new(None),
        };
        database.prepare().await?;
        Ok(database)
    }

    async fn prepare(&self) -> Result<(), LedgerError> {
        let opened = async {
            let mut held = self.connection.lock().await;
            let mut connection = self.take(&mut held).await?;
            connection.make_tables().await?;
            *held = Some(connection);
            Ok(())
        };
        opened.await.map_err(|source| LedgerError::Open {
            ledger: self.name(),
            source,
        })?;
        let rows = self
            .query(&Statement::new(
                "SELECT value FROM versions WHERE name = 'schema'",
                vec![],
            ))
            .await?;
        let found = rows.first().and_then(|row| row[0].integer()).unwrap_or(0);
        if found == VERSION {
            Ok(())
        } else {
            Err(LedgerError::Version {
                ledger: self.name(),
                found,
                known: VERSION,
            })
        }
    }

    /// Host and database; no password.
    pub(crate) fn name(&self) -> String {
        self.name.clone()
    }

    /// Takes the connection out, making it where there is none. Whoever finishes puts it back: work
    /// that fails, or is left in the middle, takes its connection and its transaction with it.
    async fn take(&self, held: &mut Option<Connection>) -> Result<Connection, Cause> {
        if let Some(connection) = held.take()
            && !connection.client.is_closed()
        {
            return Ok(connection);
        }
        let client = if self.config.get_ssl_mode() == SslMode::Disable || by_socket(&self.config) {
            self.connect(tokio_postgres::NoTls).await?
        } else {
            self.connect(tls::Connector::new()?).await?
        };
        Ok(Connection {
            client,
            prepared: HashMap::new(),
        })
    }

    async fn connect<T>(&self, tls: T) -> Result<Client, Cause>
    where
        T: tokio_postgres::tls::MakeTlsConnect<tokio_postgres::Socket>,
        T::Stream: Send + 'static,
    {
        let (client, connection) = self.config.connect(tls).await.map_err(plain)?;
        // Its error is told to whoever waits for an answer on it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(client)
    }

    pub(crate) async fn query(&self, statement: &Statement<'_>) -> Result<Vec<Row>, LedgerError> {
        let mut held = self.connection.lock().await;
        let result = async {
            let mut connection = self.take(&mut held).await?;
            let rows = connection.query(statement).await.map_err(plain)?;
            *held = Some(connection);
            Ok(rows)
        };
        result.await.map_err(|source| LedgerError::Read {
            ledger: self.name(),
            source,
        })
    }

    pub(crate) async fn change(
        &self,
        statements: &[Statement<'_>],
    ) -> Result<Vec<u64>, LedgerError> {
        let mut held = self.connection.lock().await;
        let result = async {
            let mut connection = self.take(&mut held).await?;
            connection.run("BEGIN").await?;
            let changed = connection.execute_all(statements).await.map_err(plain)?;
            connection.run("COMMIT").await?;
            *held = Some(connection);
            Ok(changed)
        };
        result.await.map_err(|source| LedgerError::Write {
            ledger: self.name(),
            source,
        })
    }

    /// Reads, decides and writes while no other instance does. `decide` gets the rows of `read`.
    pub(crate) async fn in_turn<T>(
        &self,
        read: &Statement<'_>,
        decide: impl FnOnce(Vec<Row>) -> T,
        write: impl FnOnce(&T) -> Vec<Statement<'_>>,
    ) -> Ended<T> {
        let mut held = self.connection.lock().await;
        let begun = async {
            let mut connection = self.take(&mut held).await?;
            let begin = format!("BEGIN; SELECT pg_advisory_xact_lock({TURN})");
            connection.run(&begin).await?;
            let rows = connection.query(read).await.map_err(plain)?;
            Ok::<_, Cause>((connection, rows))
        };
        let (mut connection, rows) = match begun.await {
            Ok(begun) => begun,
            Err(error) => return Ended::Undone(error.to_string()),
        };
        let decided = decide(rows);
        if let Err(error) = connection.execute_all(&write(&decided)).await {
            return Ended::Undone(plain(error).to_string());
        }
        match connection.client.batch_execute("COMMIT").await {
            Ok(()) => {
                *held = Some(connection);
                Ended::Committed(decided)
            }
            // The server answered, and what it said was no.
            Err(error) if error.as_db_error().is_some() => Ended::Undone(plain(error).to_string()),
            Err(_) => Ended::Unknown(decided),
        }
    }
}

impl Connection {
    /// Makes what is missing. Even a repeated `CREATE INDEX IF NOT EXISTS` locks its table against
    /// writers, and two tables locked one after the other can meet an instance at work in a
    /// deadlock: so what was made once is not asked for again.
    async fn make_tables(&mut self) -> Result<(), Cause> {
        if self.tables_made().await? {
            return Ok(());
        }
        self.run(&format!("BEGIN; SELECT pg_advisory_xact_lock({TURN})"))
            .await?;
        // Another instance may have made them while this one waited for its turn.
        if !self.tables_made().await? {
            let mut script = String::new();
            for table in TABLES {
                script.push_str(table);
                script.push(';');
            }
            let made = TABLES.len();
            let _ = write!(
                script,
                "INSERT INTO versions (name, value) VALUES ('schema', {VERSION})
                 ON CONFLICT (name) DO NOTHING;
                 INSERT INTO versions (name, value) VALUES ('{MADE}', {made})
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value;"
            );
            self.run(&script).await?;
        }
        self.run("COMMIT").await
    }

    async fn tables_made(&mut self) -> Result<bool, Cause> {
        let exists = self
            .client
            .query_one("SELECT to_regclass('versions') IS NOT NULL", &[])
            .await
            .map_err(plain)?;
        if !exists.get::<_, bool>(0) {
            return Ok(false);
        }
        let sql = format!("SELECT value FROM versions WHERE name = '{MADE}'");
        let made = self.client.query_opt(&sql, &[]).await.map_err(plain)?;
        Ok(made.is_some_and(|row| row.get::<_, i64>(0) >= TABLES.len() as i64))
    }

    async fn run(&self, script: &str) -> Result<(), Cause> {
        self.client.batch_execute(script).await.map_err(plain)
    }

    async fn prepared(&mut self, sql: &str) -> Result<tokio_postgres::Statement, Failed> {
        if let Some(prepared) = self.prepared.get(sql) {
            return Ok(prepared.clone());
        }
        let prepared = self.client.prepare(sql).await?;
        if self.prepared.len() >= MOST_PREPARED {
            self.prepared.clear();
        }
        self.prepared.insert(sql.to_owned(), prepared.clone());
        Ok(prepared)
    }

    async fn query(&mut self, statement: &Statement<'_>) -> Result<Vec<Row>, Failed> {
        let prepared = self.prepared(&statement.sql).await?;
        let values: Vec<&(dyn ToSql + Sync)> = parameters(&statement.values);
        let found = self.client.query(&prepared, &values).await?;
        found.iter().map(row).collect()
    }

    /// Sends all, then waits for all: one way there and back, not one for each.
    async fn execute_all(&mut self, statements: &[Statement<'_>]) -> Result<Vec<u64>, Failed> {
        let mut prepared = Vec::with_capacity(statements.len());
        for statement in statements {
            prepared.push(self.prepared(&statement.sql).await?);
        }
        let client = &self.client;
        let running = statements
            .iter()
            .zip(&prepared)
            .map(|(statement, prepared)| async move {
                let values = parameters(&statement.values);
                client.execute(prepared, &values).await
            });
        try_join_all(running).await
    }
}

fn parameters<'a>(values: &'a [Value<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    values
        .iter()
        .map(|value| value as &(dyn ToSql + Sync))
        .collect()
}

/// How long a server may take to accept a connection, or to acknowledge what was sent to it.
const SILENCE: Duration = Duration::from_secs(10);

/// A server whose machine is gone says nothing: without these bounds the system waits a quarter of an
/// hour for an answer, and hours on a connection at rest. What the address sets itself stands.
fn notices_a_silent_server(config: &mut Config) {
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(SILENCE);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(SILENCE);
    }
    if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
        config.keepalives_idle(SILENCE);
    }
}

/// An error with what the server said; of itself it says only which side it comes from.
fn plain(error: tokio_postgres::Error) -> Cause {
    if let Some(said) = error.as_db_error() {
        return Arc::new(std::io::Error::other(format!(
            "{} ({})",
            said.message(),
            said.code().code()
        )));
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    Arc::new(std::io::Error::other(text))
}

/// Whether the database is reached by a socket of this machine, where there is nothing to encrypt.
fn by_socket(config: &Config) -> bool {
    let mut hosts = config.get_hosts().iter();
    hosts.all(|host| !matches!(host, Host::Tcp(_)))
}

fn name(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".to_owned(),
    };
    format!(
        "postgres://{host}/{}",
        config
            .get_dbname()
            .or(config.get_user())
            .unwrap_or_default()
    )
}

fn row(found: &tokio_postgres::Row) -> Result<Row, Failed> {
    (0..found.len())
        .map(|column| {
            Ok(match *found.columns()[column].type_() {
                Type::INT8 => found.try_get::<_, Option<i64>>(column)?.into(),
                Type::INT4 => found
                    .try_get::<_, Option<i32>>(column)?
                    .map(i64::from)
                    .into(),
                Type::FLOAT8 => found.try_get::<_, Option<f64>>(column)?.into(),
                _ => found.try_get::<_, Option<String>>(column)?.into(),
            })
        })
        .collect()
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut tokio_postgres::types::private::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(value) if *ty == Type::INT4 => i32::try_from(*value)?.to_sql(ty, out),
            Self::Integer(value) => value.to_sql(&Type::INT8, out),
            Self::Real(value) => value.to_sql(&Type::FLOAT8, out),
            Self::Text(text) => text.as_ref().to_sql(&Type::TEXT, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Binary
    }

    tokio_postgres::types::to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use std::{str::FromStr as _, time::Duration};

    use tokio_postgres::Config;

    use super::{SILENCE, notices_a_silent_server};

    #[test]
    fn a_server_that_says_nothing_is_noticed_unless_the_address_says_how() {
        let bounds = |address: &str| {
            let mut config = Config::from_str(address).unwrap();
            notices_a_silent_server(&mut config);
            [
                config.get_connect_timeout().copied(),
                config.get_tcp_user_timeout().copied(),
                Some(config.get_keepalives_idle()),
            ]
        };
        assert_eq!(bounds("postgres://a@b/c"), [Some(SILENCE); 3]);
        assert_eq!(
            bounds("host=b connect_timeout=3 tcp_user_timeout=4 keepalives_idle=5"),
            [3, 4, 5].map(|seconds| Some(Duration::from_secs(seconds)))
        );
    }
}
