//! Budgets on the time for which attempts of steps run.
//!
//! Owns what one attempt may use of them: slices that are held ahead, renewed while it runs, and settled for
//! what was used. An attempt without a slice does not run. Time counts from the moment at which an attempt
//! begins until nothing of it is left: its sandbox, its calls, the replay of what it did before. A step that
//! waits for people, for a time or in a queue is suspended, and has no attempt then.
//!
//! The sequence, with what a crash after each line leaves behind:
//! 1. the first slice is held; crash: whoever takes the run over charges it in full, since how much of it
//!    was used is not known. A slice is at most a minute, and a quarter of what was left;
//! 2. before it is used up, what was used is settled and the next slice is held, in one commit; crash: as
//!    above, of the slice that stands;
//! 3. the attempt ends by itself: what was used is settled, the rest is freed; crash before it: as above;
//! 4. no slice is to be had, and the last one is used up: the attempt is ended where it stands, as by a
//!    crash, and its slice is settled; crash: the next attempt finds no slice either;
//! 5. the question is put, or `budget.queued` is recorded, or the run is halted; crash before it: the next
//!    attempt comes back here; after it: the question or the time is durable, and found again.
//!
//! What an attempt takes to end once its time is up is not counted: its code is killed at once, and a model
//! call that is on its way takes as long as it takes.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use wflo_core::budget::{Measure, OnExceeded, Shortfall};
use wflo_core::effect::EffectKey;
use wflo_core::event::{EventBody, Wait};
use wflo_core::ports::store::{Batch, Op};
use wflo_core::size::Millis;

use super::exceeded::{halt, question};
use super::queue;
use super::reserve::accounts_that;
use crate::budgets::Applied;
use crate::error::EngineError;
use crate::executor::{Attempt, End, Stop};
use crate::services::Services;
use crate::steps::ended_by;

mod slice;

use slice::Slice;

/// How long an attempt waits, before it begins, for what others hold.
const PATIENCE: Duration = Duration::from_secs(300);
/// Time that other processes free is settled without a bell here.
const LOOK: Duration = Duration::from_secs(1);
/// The wait of a step that is queued for time.
const PATH: &str = "@time";

/// No time is left.
struct Spent {
    shortfall: Box<Shortfall>,
    /// How long a step may be queued for it.
    queue: Millis,
}

/// Why an attempt is ended before it has ended by itself.
enum Over {
    Spent(Spent),
    Broken(EngineError),
}

/// Carries an attempt out for as long as every budget on time has room.
pub(crate) async fn within<F>(
    services: &Arc<Services>,
    attempt: Attempt,
    work: impl FnOnce(Attempt) -> F + Send,
) -> End
where
    F: Future<Output = End> + Send,
{
    match limits(services, &attempt).await {
        Ok(limits) if limits.is_empty() => work(attempt).await,
        Ok(_) => match timed(services, &attempt, work).await {
            Ok(end) => end,
            Err(e) => ended_by(&e),
        },
        Err(e) => ended_by(&e),
    }
}

/// The accounts that count the attempt's time.
async fn limits(services: &Services, attempt: &Attempt) -> Result<Vec<Applied>, EngineError> {
    accounts_that(services, attempt, |measure| measure == Measure::Seconds).await
}

async fn timed<F>(
    services: &Arc<Services>,
    attempt: &Attempt,
    work: impl FnOnce(Attempt) -> F + Send,
) -> Result<End, EngineError>
where
    F: Future<Output = End> + Send,
{
    let mut slice = Slice::new(Arc::clone(services), attempt.clone());
    if let Some(spent) = first(&mut slice).await? {
        return out_of_time(services, attempt, &spent).await;
    }
    let (ended, over) = oneshot::channel();
    let (tell, mut told) = oneshot::channel();
    let keeper = tokio::spawn(keep(slice, over, tell));
    let (stop, stopped) = watch::channel(None);
    let work = work(Attempt { stop: stopped, ..attempt.clone() });
    tokio::pin!(work);
    let (mut asked, mut why) = (false, None);
    let end = loop {
        tokio::select! {
            biased;
            end = &mut work => break end,
            reason = attempt.stopped(), if !asked => {
                asked = true;
                stop.send_replace(Some(reason));
            }
            over = &mut told, if !asked => {
                asked = true;
                why = Some(over.unwrap_or(Over::Broken(EngineError::ShuttingDown)));
                stop.send_replace(Some(Stop::OutOfTime));
            }
        }
    };
    // It ends by itself if this is dropped, too: whatever becomes of the attempt, its slice is settled.
    let _ = ended.send(());
    keeper.await.map_err(|e| EngineError::Unreadable(format!("internal error: {e}")))??;
    match (end, why) {
        (End::Stopped, Some(Over::Spent(spent))) => out_of_time(services, attempt, &spent).await,
        // It is not begun anew where it stood, whoever may say so: what it has done is kept, and its run is over.
        (end, Some(Over::Spent(spent))) if is_ended_program(&end) => {
            if attempt.stop.borrow().is_none() {
                halt(attempt, &spent.shortfall).await?;
            }
            Ok(end)
        }
        (end, Some(Over::Broken(e))) if matches!(end, End::Stopped) || is_ended_program(&end) => Err(e),
        (end, _) => Ok(end),
    }
}

/// Whether a program was ended, and left its files.
fn is_ended_program(end: &End) -> bool {
    let code = crate::steps::ENDED_WITH_ITS_RUN.to_string();
    matches!(end, End::Failed { error, left: Some(_), .. } if error.code == code)
}

/// Takes the first slice, waiting for what other steps hold; why there is none.
async fn first(slice: &mut Slice) -> Result<Option<Spent>, EngineError> {
    let since = Instant::now();
    loop {
        let (services, attempt) = (Arc::clone(&slice.services), slice.attempt.clone());
        let settled = services.settled.notified();
        let Some(spent) = slice.renew().await? else { return Ok(None) };
        if !spent.shortfall.may_fit_later() || since.elapsed() >= PATIENCE {
            return Ok(Some(spent));
        }
        tokio::select! {
            () = settled => {}
            () = tokio::time::sleep(LOOK) => {}
            _ = attempt.stopped() => return Err(EngineError::ShuttingDown),
        }
    }
}

/// Renews the slice until the attempt has ended, says when that cannot be done any more, and settles it.
async fn keep(
    mut slice: Slice,
    mut ended: oneshot::Receiver<()>,
    tell: oneshot::Sender<Over>,
) -> Result<(), EngineError> {
    let services = Arc::clone(&slice.services);
    let (mut wake, mut short) = (slice.renewal(), false);
    let why = loop {
        let settled = services.settled.notified();
        tokio::select! {
            biased;
            _ = &mut ended => return slice.settle().await,
            () = tokio::time::sleep_until(wake) => {}
            () = settled, if short => {}
        }
        match slice.renew().await {
            Ok(None) => (wake, short) = (slice.renewal(), false),
            Ok(Some(_)) if Instant::now() < slice.end() => (wake, short) = (slice.end(), true),
            Ok(Some(spent)) => break Over::Spent(spent),
            Err(e) => break Over::Broken(e),
        }
    };
    let _ = tell.send(why);
    let _ = ended.await;
    slice.settle().await
}

/// What the budget says happens to a step whose time is used up.
async fn out_of_time(services: &Services, attempt: &Attempt, spent: &Spent) -> Result<End, EngineError> {
    if attempt.stop.borrow().is_some() {
        return Ok(End::Stopped);
    }
    let shortfall = &*spent.shortfall;
    match shortfall.budget.action_on_exceeded {
        OnExceeded::Ask => {
            let asked = question(services.store.as_ref(), attempt, None, shortfall, None).await?;
            let on = asked.map(|asked| Wait::Approval { approval_id: asked.id }).into_iter().collect();
            Ok(End::Suspended { on })
        }
        OnExceeded::Queue => match queued(services, attempt, spent).await? {
            Some(wait) => Ok(End::Suspended { on: vec![wait] }),
            None => halted(attempt, shortfall).await,
        },
        OnExceeded::Halt | OnExceeded::Downgrade => halted(attempt, shortfall).await,
    }
}

async fn halted(attempt: &Attempt, shortfall: &Shortfall) -> Result<End, EngineError> {
    halt(attempt, shortfall).await?;
    Ok(End::Stopped)
}

/// The next wait of a step that is queued for time; `None` once it has waited as long as it may. It waits
/// once for one limit: a further look at the same account, as it was, has the same end.
async fn queued(services: &Services, attempt: &Attempt, spent: &Spent) -> Result<Option<Wait>, EngineError> {
    let shortfall = &*spent.shortfall;
    let place = EffectKey {
        step: attempt.step.clone(),
        generation: attempt.generation,
        path: PATH.to_owned(),
        seq: 0,
    };
    let now = services.clock.now();
    let events = services.store.events(attempt.run, 0, 0).await?;
    let known = events.iter().rev().find_map(|recorded| match &recorded.event.body {
        EventBody::BudgetQueued { key, shortfall: was, until, .. } if *key == place => {
            let same = was.budget.id == shortfall.budget.id && was.budget.limit == shortfall.budget.limit;
            same.then_some(*until)
        }
        _ => None,
    });
    let until = match known {
        Some(until) => until,
        None => {
            let (until, due) = (queue::until(now, spent.queue), queue::next_period(shortfall, now));
            let shortfall = Box::new(shortfall.clone());
            let body = EventBody::BudgetQueued { key: place, shortfall, due, until };
            let events = vec![wflo_core::event::Event { at: now, body }];
            let ops = vec![Op::AppendEvents { run: attempt.run, events }];
            services.store.commit(Batch { fence: Some(attempt.fence()), ops }).await?;
            until
        }
    };
    let due = queue::due(shortfall, now, until);
    Ok((now < until).then(|| Wait::Timer { path: PATH.to_owned(), seq: 0, due }))
}
