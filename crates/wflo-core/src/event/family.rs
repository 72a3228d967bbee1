//! What kind of fact an event is.

use super::EventBody;

impl EventBody {
    /// Whether the fold passes over it.
    pub const fn is_journal(&self) -> bool {
        matches!(
            self,
            EventBody::EffectStarted { .. }
                | EventBody::EffectFinished { .. }
                | EventBody::ReplayMiss { .. }
                | EventBody::BudgetAlert { .. }
                | EventBody::BudgetQueued { .. }
                | EventBody::BudgetToppedUp { .. }
                | EventBody::NotificationUndelivered { .. }
                | EventBody::Log { .. }
                | EventBody::Emitted { .. }
                | EventBody::Notice { .. }
                | EventBody::EgressOpened { .. }
                | EventBody::EgressClosed { .. }
                | EventBody::EgressRefused { .. }
                | EventBody::EgressMore { .. }
                | EventBody::ApprovalConsumed { .. }
                | EventBody::WorkspaceApplied { .. }
        )
    }

    /// Whether the run has ended with it.
    pub const fn is_end(&self) -> bool {
        matches!(
            self,
            EventBody::RunCompleted {}
                | EventBody::RunFailed { .. }
                | EventBody::RunCancelled { .. }
                | EventBody::RunRejected { .. }
                | EventBody::RunHalted { .. }
                | EventBody::RunTimedOut { .. }
                | EventBody::RunRolledBack { .. }
        )
    }
}
