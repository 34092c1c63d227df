// What a command's progress is told of its delivery, and what it says is to be done.

import IdempotencyStore
import RoutingContract

/// How a command ended for one delivery: what its answer says.
struct Ending: Sendable, Hashable {
    var result: CommandResult
    /// The result had been recorded before this delivery.
    var duplicate: Bool
    /// The replay count that the result belongs to.
    var replay: Int
}

extension CommandProgress {
    /// What to do next, and report back.
    enum Step: Sendable, Hashable {
        /// Ask the store; report to ``claimed(_:askedAt:now:)`` or ``notClaimed(using:)``.
        case claim
        /// Call for the command; report to ``called(_:trouble:now:using:)``.
        case call(timeout: Duration)
        /// Clear the conversation's routing under a derived RequestId first; report to ``cleared(_:now:using:)``.
        case clear(timeout: Duration)
        /// Record under the claim held; report to ``recorded(_:_:)``, and repeat when the store fails.
        case record(Claim, CommandResult)
        /// Give the claim back, then take the step that follows.
        indirect case release(Claim, Release, then: Step)
        /// Wait, then claim again.
        case wait(Duration)
        /// The whole org is in trouble: put the command aside with it; report to ``notParked(using:)`` where that cannot
        /// be done.
        case park(ParkingReason)
        /// Done.
        case end(Ending)
    }

    /// What one delivery of a command is to the worker.
    struct Context: Sendable, Hashable {
        var receivedAt: Timestamp
        /// How often the broker has delivered it before.
        var earlierDeliveries: Int
        var worker: String
        var lease: Duration
        /// A command issued longer ago than this is expired: its duplicate could no longer be told.
        var retention: Duration
        /// At this many earlier deliveries the worker ends the command itself, far below the queue's delivery limit.
        var deliveryLimit: Int
        /// Whether trouble of the whole org puts the command aside; otherwise it is a failed attempt like any other.
        var parks = false
        /// The AuthorizationContext with which a probe has just shown that the org is well.
        var provenContext: String?
    }
}
