//! Turns, and what becomes of those that are left.

use super::*;

fn claim(caller: &str, tokens: u64) -> Claim {
    Claim { provider: "p".into(), model: "m".into(), caller: caller.into(), tokens }
}

fn gate(limit: Limit) -> Arc<Gate> {
    Arc::new(Gate::new(vec![limit], &Counts::default()))
}

async fn now(gate: &Arc<Gate>, caller: &str, tokens: u64) -> Option<Pass> {
    let take = gate.take(claim(caller, tokens));
    tokio::time::timeout(Duration::from_millis(1), take).await.ok().map(|pass| pass.unwrap().unwrap())
}

#[tokio::test(start_paused = true)]
async fn in_no_minute_more_pass_than_the_limit_says() {
    let gate =
        gate(Limit { requests_per_minute: Some(3), wait: Duration::from_secs(600), ..Limit::new("rpm") });
    let since = Instant::now();
    let mut at = Vec::new();
    for nth in 0..10 {
        gate.take(claim("c", 0)).await.unwrap().unwrap().sends();
        at.push(since.elapsed().as_secs());
        tokio::time::advance(Duration::from_secs(if nth < 3 { 10 } else { 1 })).await;
    }
    for window in at.windows(4) {
        assert!(window[3] - window[0] >= 60, "{at:?}");
    }
    assert!(at[9] <= 190, "and no longer than it must: {at:?}");
}

#[tokio::test(start_paused = true)]
async fn tokens_count_as_claimed_until_their_number_is_known() {
    let gate = gate(Limit { tokens_per_minute: Some(1_000), ..Limit::new("tpm") });
    let first = now(&gate, "c", 800).await.unwrap();
    first.sends();
    assert!(now(&gate, "c", 300).await.is_none());
    first.used(100);
    let second = now(&gate, "c", 900).await.unwrap();
    second.sends();
    second.used(5_000);
    drop((first, second));
    assert!(now(&gate, "c", 1).await.is_none(), "what was used beyond the claim counts too");
    tokio::time::advance(Duration::from_secs(60)).await;
    let _large = now(&gate, "c", 99_999).await.expect("a call larger than the limit passes alone");
    assert!(now(&gate, "c", 1).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn so_many_at_a_time_and_callers_take_turns() {
    let gate = gate(Limit { concurrent: Some(1), ..Limit::new("one") });
    let running = now(&gate, "greedy", 0).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for (nth, caller) in ["greedy", "greedy", "greedy", "greedy", "modest", "modest"].into_iter().enumerate()
    {
        let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
        tasks.spawn(async move {
            let pass = gate.take(claim(caller, 0)).await.unwrap();
            order.lock().unwrap().push(caller);
            drop(pass);
        });
        // Each is in the queue before the next comes.
        while running.gate.state().waiting.len() < nth + 1 {
            tokio::task::yield_now().await;
        }
    }
    drop(running);
    while tasks.join_next().await.is_some() {}
    let order = order.lock().unwrap();
    let last = order.iter().rposition(|caller| *caller == "modest").unwrap();
    assert!(last <= 3, "two calls wait for two of the other's, not for four: {order:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_or_in_vain_is_told_by_whom() {
    let limit =
        Limit { requests_per_minute: Some(1), wait: Duration::from_secs(5), queue: 1, ..Limit::new("slow") };
    let gate = gate(limit);
    gate.take(claim("c", 0)).await.unwrap().unwrap().sends();
    let waits = tokio::spawn({
        let gate = Arc::clone(&gate);
        async move { gate.take(claim("c", 0)).await.map(drop) }
    });
    while gate.state().waiting.is_empty() {
        tokio::task::yield_now().await;
    }
    let denied = gate.take(claim("c", 0)).await.unwrap_err();
    assert_eq!(denied.limit, "slow", "the queue is full");
    let denied = waits.await.unwrap().unwrap_err();
    assert_eq!((denied.limit.as_str(), denied.wait), ("slow", Duration::from_secs(55)));
    assert!(gate.state().waiting.is_empty() && gate.state().turns.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_leaves_the_queue_and_takes_nothing() {
    let gate = gate(Limit { concurrent: Some(1), ..Limit::new("one") });
    let running = now(&gate, "c", 0).await.unwrap();
    assert!(now(&gate, "c", 0).await.is_none());
    assert!(gate.state().waiting.is_empty());
    drop(running);
    assert!(now(&gate, "c", 0).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_of_what_it_names() {
    let own = Limit { concurrent: Some(1), per_caller: true, ..Limit::new("each") };
    let model = Limit { concurrent: Some(2), model: Some("m".into()), ..Limit::new("model") };
    let other = Limit { concurrent: Some(0), provider: Some("q".into()), ..Limit::new("other") };
    let gate = Arc::new(Gate::new(vec![own, model, other], &Counts::default()));
    let first = now(&gate, "a", 0).await.unwrap();
    assert!(now(&gate, "a", 0).await.is_none(), "its own");
    let _second = now(&gate, "b", 0).await.unwrap();
    assert!(now(&gate, "c", 0).await.is_none(), "the model's");
    drop(first);
    assert!(now(&gate, "c", 0).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_never_sent_takes_nothing_of_its_minute() {
    let (requests, tokens) = (Some(2), Some(1_000));
    let limit = Limit { requests_per_minute: requests, tokens_per_minute: tokens, ..Limit::new("minute") };
    let gate = gate(limit);
    // As often as a budget refuses it, or its client goes.
    for _ in 0..20 {
        drop(now(&gate, "refused", 900).await.expect("what was given back is there"));
    }
    let sent = now(&gate, "c", 900).await.unwrap();
    sent.sends();
    drop(sent);
    assert!(now(&gate, "c", 900).await.is_none(), "what was sent counts");
    let one = now(&gate, "c", 50).await.unwrap();
    assert!(now(&gate, "c", 10).await.is_none(), "two have passed");
    drop(one);
    now(&gate, "c", 10).await.unwrap().sends();
    assert!(now(&gate, "c", 0).await.is_none());
}

/// Whoever was given a turn and went before it was seen.
#[tokio::test(start_paused = true)]
async fn a_turn_that_is_left_is_the_next_ones() {
    let gate = gate(Limit { concurrent: Some(1), requests_per_minute: Some(2), ..Limit::new("one") });
    for _ in 0..10 {
        let running = now(&gate, "c", 0).await.unwrap();
        let mut gone = Box::pin(gate.take(claim("gone", 0)));
        let mut next = Box::pin(gate.take(claim("next", 0)));
        for waits in [&mut gone, &mut next] {
            assert!(tokio::time::timeout(Duration::ZERO, waits.as_mut()).await.is_err());
        }
        drop(running);
        // It has the turn, and nobody looks.
        assert_eq!(gate.state().waiting.len(), 1);
        drop(gone);
        drop(next.await.unwrap().unwrap());
        let state = gate.state();
        assert!(state.waiting.is_empty() && state.turns.is_empty());
        assert!(state.meters.values().all(|meter| *meter == Meter::default()), "{:?}", state.meters);
    }
}

/// Passes are numbered as they are given, not as they were asked for: callers take turns.
#[tokio::test(start_paused = true)]
async fn what_a_call_has_used_is_known_also_of_one_that_passed_before_those_that_came_earlier() {
    let gate = gate(Limit { concurrent: Some(4), tokens_per_minute: Some(1_000), ..Limit::new("tpm") });
    let all = now(&gate, "first", 1_000).await.unwrap();
    let mut greedy: Vec<_> = (0..3).map(|_| Box::pin(gate.take(claim("greedy", 200)))).collect();
    let mut modest = Box::pin(gate.take(claim("modest", 200)));
    for waits in greedy.iter_mut().chain([&mut modest]) {
        assert!(tokio::time::timeout(Duration::ZERO, waits.as_mut()).await.is_err());
    }
    drop(all);
    let modest = modest.await.unwrap().unwrap();
    let mut others = Vec::new();
    for waits in greedy {
        others.push(waits.await.unwrap().unwrap());
    }
    for pass in others.iter().chain([&modest]) {
        pass.sends();
        pass.used(10);
    }
    drop((others, modest));
    assert!(now(&gate, "c", 960).await.is_some(), "four of ten tokens");
}
