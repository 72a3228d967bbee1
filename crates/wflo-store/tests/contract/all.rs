//! What every store promises, written once. A backend's test crate makes a [`Fixture`] for each test
//! and names this file: `#[path = "contract/all.rs"] mod contract;` and `contract::promises!(fixture);`.

pub mod approvals;
pub mod batches;
pub mod budget_model;
pub mod budgets;
pub mod contents;
pub mod effects;
pub mod events;
pub mod ground;
pub mod limits;
pub mod queues;
pub mod retention;
pub mod runs;
pub mod slices;
pub mod values;

pub use ground::Fixture;

/// One test for each promise, each on a store of its own from `$fixture()`.
macro_rules! promises {
    ($fixture:path) => {
        $crate::contract::promises! { $fixture =>
            runs::a_run_is_read_back_as_it_was_accepted
            runs::runs_are_listed_newest_first_and_filtered
            runs::a_run_ends_once_and_keeps_its_end
            runs::a_definition_is_kept_once_and_found_by_run
            runs::a_lease_is_claimed_by_one
            events::numbers_are_dense_over_both_families
            events::pages_meet_without_gap_or_overlap
            events::the_machine_gets_its_own_events_only
            effects::an_effect_goes_from_intent_to_result
            effects::results_are_ordered_by_generation
            effects::a_lost_try_is_carried
            effects::a_retry_keeps_what_it_is_told_to
            effects::a_cancelled_wait_keeps_its_first_place_and_a_retry_moves_it
            effects::attributes_are_merged_by_key
            effects::a_previewed_effect_is_confirmed_once
            effects::a_rewind_drops_what_was_previewed_and_nothing_else
            contents::what_was_asked_is_kept_once_a_run_and_goes_with_it
            contents::what_is_kept_already_is_not_counted_again
            budgets::a_hold_is_taken_on_all_budgets_or_none
            budgets::a_bill_frees_the_rest_once
            budgets::alerts_are_raised_once_each
            budgets::each_account_takes_its_own_measure_of_a_call
            budgets::a_standing_budget_is_changed_with_its_open_accounts_and_keeps_its_history
            budgets::a_clock_that_steps_over_a_boundary_neither_doubles_nor_loses_a_period
            budgets::an_account_is_opened_once
            budgets::a_limit_is_raised_and_never_lowered_under_what_is_used
            budgets::a_bill_above_its_hold_is_counted
            budgets::fifty_at_once_fit_three
            approvals::a_question_is_decided_once
            approvals::an_approval_is_used_once
            approvals::approvals_are_listed_and_filtered
            approvals::questions_are_found_by_what_they_are_about
            queues::messages_reach_the_engine_of_the_run
            queues::timers_are_replaced_and_removed
            queues::engines_come_and_go
            batches::a_batch_is_whole_or_absent
            batches::a_failing_batch_does_not_touch_its_neighbours
            batches::a_stale_writer_changes_nothing
            batches::two_stores_see_each_other_at_once
            batches::posted_batches_are_committed_in_their_order
            batches::nothing_builds_on_a_posted_batch_that_was_refused
            retention::a_run_is_removed_whole
            retention::a_run_that_is_needed_stays
            retention::a_chain_has_its_budget_until_its_last_run_is_removed
            retention::a_removed_run_is_not_retried
            retention::trees_are_needed_until_they_are_dropped
            retention::leftovers_are_named_until_they_are_gone
            retention::runs_are_found_by_their_end
            retention::nothing_that_a_row_points_to_is_collected
            retention::accounts_of_the_past_go_and_totals_stay
            slices::a_slice_is_taken_of_all_budgets_or_none
            slices::what_is_fetched_ahead_leaves_as_much_for_others
            slices::a_fold_moves_what_was_spent_once
            slices::the_end_of_a_process_frees_what_it_did_not_spend
            slices::more_than_was_taken_is_not_freed
            slices::a_recall_reaches_everybody_else
            limits::a_top_up_outlasts_what_a_file_says
            limits::a_limit_that_runs_share_is_lowered_by_others_and_never_raised
            limits::lowering_a_limit_takes_back_what_no_call_holds
            limits::a_correction_is_kept_with_who_when_and_why
            slices::calls_are_summed_by_hour_and_kept_each
            slices::a_key_is_kept_by_its_hash_and_stays_revoked
            slices::old_calls_are_forgotten_but_for_sums_and_lost_bills
            values::large_values_are_read_back
            values::a_journal_is_listed_without_its_large_values
            values::another_runs_effects_are_carried_whole_and_for_nothing
            values::a_forged_pointer_is_only_a_value
        }
    };
    ($fixture:path => $($module:ident :: $promise:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let fixture = $fixture();
                $crate::contract::$module::$promise(&fixture).await;
            }
        )*
    };
}
pub(crate) use promises;
