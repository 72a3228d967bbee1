//! A real gateway, a real store and a mock provider; a step does whatever a test says.

use super::*;

pub(super) type Act = dyn Fn(Attempt, Arc<Calls>) -> BoxFuture<'static, End> + Send + Sync;

pub(super) struct Acting {
    pub(super) services: Arc<Services>,
    pub(super) act: StdMutex<Option<Arc<Act>>>,
}

impl Executor for Acting {
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, End> {
        let services = Arc::clone(&self.services);
        let work = move |attempt: Attempt| async move {
            let (store, clock) = (Arc::clone(&self.services.store), Arc::clone(&self.services.clock));
            let journal = Journal::load(store, clock, attempt.fence(), &attempt.step, attempt.generation);
            let journal = Arc::new(journal.await.unwrap());
            let services = Arc::clone(&self.services);
            let calls = Arc::clone(&Broker::new(attempt.clone(), journal, services).calls);
            let act = self.act.lock().unwrap().clone().unwrap();
            let end = act(attempt, Arc::clone(&calls)).await;
            calls.close().await;
            end
        };
        Box::pin(async move { within(&services, attempt, work).await })
    }

    fn compensate(
        &self,
        _: Arc<RunContext>,
        _: String,
        _: u32,
        _: Fence,
    ) -> BoxFuture<'_, (Value, Option<Failure>)> {
        Box::pin(async { (Value::Null, None) })
    }
}

/// No gateway shares the data directory.
struct Alone;

impl Spenders for Alone {
    fn recover_dead(&self) -> BoxFuture<'_, usize> {
        Box::pin(async { 0 })
    }
}

pub(super) struct World {
    pub(super) mock: ModelServer,
    pub(super) gateway: Gateway,
    pub(super) engine: Engine,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) acting: Arc<Acting>,
    pub(super) _dir: tempfile::TempDir,
}

pub(super) fn settings() -> ModelSettings {
    ModelSettings {
        provider: Some("local".into()),
        input: Some("0".into()),
        output: Some("2".into()),
        context_tokens: Some(1_000),
        max_output_tokens: Some(500),
        ..ModelSettings::default()
    }
}

pub(super) async fn world() -> World {
    let mock = ModelServer::start().unwrap();
    mock.answer_always(Answer::billed(10, 100));
    let url = mock.openai_url();
    world_at(mock, &url).await
}

pub(super) async fn world_at(mock: ModelServer, url: &str) -> World {
    world_with(mock, url, Routing::default()).await
}

pub(super) async fn world_with(mock: ModelServer, url: &str, routing: Routing) -> World {
    world_over(mock, url, routing, None).await
}

pub(super) async fn world_over(
    mock: ModelServer,
    url: &str,
    routing: Routing,
    cache: Option<CacheSettings>,
) -> World {
    world_within(mock, url, routing, cache, Limits::default()).await
}

/// One whose gateway has no more memory than these limits say.
pub(super) async fn world_within(
    mock: ModelServer,
    url: &str,
    routing: Routing,
    cache: Option<CacheSettings>,
    limits: Limits,
) -> World {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(dir.path().join("wflo.db"), StoreOptions::default()).unwrap());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let provider = Provider::new("local", Dialect::OpenAi, url, None).unwrap();
    let models = BTreeMap::from([("smol".to_owned(), settings())]);
    let routes = Routes::new(vec![provider], Vec::new(), models).unwrap().with_routing(routing).unwrap();
    let cache = cache.map(|settings| Cache::new(settings, Arc::clone(&clock)));
    let (ledger, deadlines) = (Arc::new(RunLedger), Deadlines::default());
    let gateway = Gateway::caching(routes, ledger, cache, deadlines, limits);
    let databases =
        wflo_data::Databases::open(&BTreeMap::new(), dir.path(), &wflo_data::Limits::default()).unwrap();
    let services = Arc::new(Services {
        keeps_content: true,
        hosts: crate::hosts::Hosts::default(),
        store: Arc::clone(&store),
        clock: Arc::clone(&clock),
        databases: Arc::new(databases),
        meters: Meters::new(wflo_core::size::Bytes(u64::MAX)),
        settled: Arc::new(tokio::sync::Notify::new()),
        spenders: Arc::new(Alone),
        turns: crate::ledger::Turns::default(),
        gateway: std::sync::OnceLock::new(),
    });
    let _ = services.gateway.set(gateway.clone());
    let acting = Arc::new(Acting { services, act: StdMutex::default() });
    let engine = Engine::start(Options {
        data_dir: dir.path().to_owned(),
        store: Arc::clone(&store),
        clock: Arc::clone(&clock),
        executor: Arc::clone(&acting) as _,
        max_steps: 4,
        max_runs: 4,
        max_queued: 4,
    })
    .await
    .unwrap();
    World { mock, gateway, engine, store, clock, acting, _dir: dir }
}

impl World {
    pub(super) fn on<F, Fut>(&self, act: F)
    where
        F: Fn(Attempt, Arc<Calls>, Gateway) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = End> + Send + 'static,
    {
        let gateway = self.gateway.clone();
        let act: Arc<Act> = Arc::new(move |attempt, calls| Box::pin(act(attempt, calls, gateway.clone())));
        *self.acting.act.lock().unwrap() = Some(act);
    }

    pub(super) async fn submit(&self, limits: &Value) -> RunId {
        self.submit_sealed(limits, Value::Null).await
    }

    pub(super) async fn submit_sealed(&self, limits: &Value, launch: Value) -> RunId {
        self.submit_with(&(limits.clone(), RunOptions { launch, ..RunOptions::default() })).await
    }

    pub(super) async fn submit_with(&self, (limits, options): &(Value, RunOptions)) -> RunId {
        let mut json = json!({"name": "t", "steps": [{"name": "s", "type": "agent", "handler": "code", "depends_on": []}]});
        json.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
        let definition = Definition::parse(&json).unwrap();
        let (id, now, digest) =
            (RunId::from_uuid(self.clock.uuid()), self.clock.now(), Digest::of_bytes(b"v"));
        let record = RunRecord {
            id,
            workflow: "t".into(),
            version: digest.clone(),
            label: None,
            code: digest,
            inputs: json!({}),
            options: options.clone(),
            status: RunStatus::Pending,
            outputs: None,
            error: None,
            retried_from: None,
            budget_key: id.to_string(),
            trace_id: "0".repeat(32),
            lease_epoch: 1,
            engine: None,
            created_at: now,
            updated_at: now,
            finished_at: None,
        };
        self.engine.submit(record, &definition, Vec::new()).await.unwrap()
    }

    pub(super) async fn ended(&self, run: RunId) -> RunStatus {
        tokio::time::timeout(PATIENCE, self.engine.ended(run)).await.unwrap().unwrap();
        self.store.run(run).await.unwrap().unwrap().status
    }

    pub(super) async fn approvals(&self, run: RunId) -> Vec<Approval> {
        let filter = ApprovalFilter { run: Some(run), ..ApprovalFilter::default() };
        self.store.approvals(filter).await.unwrap()
    }

    pub(super) async fn decide(&self, run: RunId, approval: &Approval, amount: Option<i64>) {
        let decision = Decision {
            approved: true,
            by: "local:me".into(),
            comment: None,
            amount: amount.map(NanoUsd::from_nanos),
            lasts: None,
            at: self.clock.now(),
        };
        self.engine.send(run, &Message::Decide { approval: approval.id, decision }).await.unwrap();
    }

    /// Settled and held of the run's budget.
    pub(super) async fn money(&self, run: RunId) -> (i64, i64) {
        let budgets = self.store.budgets(vec![run.to_string()]).await.unwrap();
        budgets.first().map_or((0, 0), |b| (b.settled.units(), b.held.units()))
    }
}

/// A zone in which it is about noon: no day, and so no month, ends there in the middle of a test. The same for all
/// that asks, whichever hour ends meanwhile.
pub(super) fn at_noon() -> wflo_core::budget::Zone {
    static ZONE: std::sync::LazyLock<wflo_core::budget::Zone> = std::sync::LazyLock::new(|| {
        let hour = SystemClock::default().now().to_zoned(jiff::tz::TimeZone::UTC).hour();
        // What is called so lies behind UTC by its number.
        format!("Etc/GMT{:+}", hour - 12).parse().unwrap()
    });
    ZONE.clone()
}

pub(super) async fn until<Fut: Future<Output = bool>>(what: &str, holds: impl Fn() -> Fut) {
    let since = Instant::now();
    while !holds().await {
        assert!(since.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(super) fn budget(calls: i64, action: &str) -> Value {
    let limit = NanoUsd::from_nanos(calls * EACH + MARGIN).to_string();
    json!({"budgets": [{"max_cost_usd": limit, "per": "run", "action_on_exceeded": action}]})
}

pub(super) fn request() -> Value {
    json!({"model": "smol", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]})
}

pub(super) async fn call(gateway: Gateway, calls: Arc<Calls>, seq: u32) -> Result<ChatReply, CallError> {
    let chat = ChatCall {
        model: "smol".into(),
        request: request().as_object().unwrap().clone(),
        stream: false,
        positional: Some(("0".into(), seq)),
    };
    gateway.call(Caller::new("test", calls), chat, None).await
}

/// Calls at the same moment: how many were answered, and how many a budget or a policy refused.
pub(super) async fn crowd(gateway: &Gateway, calls: &Arc<Calls>, many: u32) -> (u32, u32) {
    let mut set = tokio::task::JoinSet::new();
    for seq in 0..many {
        set.spawn(call(gateway.clone(), Arc::clone(calls), seq));
    }
    let (mut answered, mut refused) = (0, 0);
    while let Some(done) = set.join_next().await {
        match done.unwrap() {
            Ok(_) => answered += 1,
            Err(CallError::Gateway(GatewayError::BudgetExceeded { .. } | GatewayError::Refused { .. })) => {
                refused += 1
            }
            Err(e) => panic!("{e:?}"),
        }
    }
    (answered, refused)
}

pub(super) fn done(output: Value) -> End {
    End::Succeeded { output, state: None, cost: NanoUsd::ZERO, layer: None, ops: Vec::new() }
}

pub(super) fn crowds(world: &World, many: u32) {
    world.on(move |_, calls, gateway| async move {
        let (answered, refused) = crowd(&gateway, &calls, many).await;
        if refused > 0 {
            let error = Failure::new(Code(4001), format!("{answered}/{refused}"));
            return End::Failed {
                no_retry: Some(error.clone()),
                error,
                timed_out: false,
                keep: Vec::new(),
                left: None,
            };
        }
        done(json!(answered))
    });
}
