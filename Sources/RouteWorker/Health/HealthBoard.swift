// Where the home event loop leaves its samples, and others read what they mean.

import Synchronization

/// The last sample of a worker and what it means for probes. Readable from any thread, also while the home event loop
/// stands still.
public final class HealthBoard: Sendable {
    private struct State {
        var liveness: Liveness
        var sample: WorkerSample?
        var queues: [WorkerSample.Queue] = []
        var partitionProblem: String?
        var storeFailure: String?
        var storeAnsweredAt: ContinuousClock.Instant?
    }

    private let state: Mutex<State>

    public init(_ limits: Liveness.Limits, start: ContinuousClock.Instant = .now) {
        state = Mutex(State(liveness: Liveness(limits, start: start)))
    }

    /// What is too long-lasting, see ``Liveness``.
    public func livenessProblems(now: ContinuousClock.Instant = .now) -> [String] {
        state.withLock { $0.liveness.problems(now: now) }
    }

    /// What is missing now, see ``Readiness``.
    public func readinessProblems(now: ContinuousClock.Instant = .now) -> [String] {
        Readiness.problems(state.withLock { $0.sample }, now: now)
    }

    func show(_ sample: WorkerSample) {
        state.withLock {
            $0.sample = sample
            $0.liveness.saw(sample)
        }
    }

    // MARK: What others found out

    /// What the broker says of queues; none while it cannot be asked.
    func show(_ queues: [WorkerSample.Queue]) { state.withLock { $0.queues = queues } }

    var queues: [WorkerSample.Queue] { state.withLock { $0.queues } }

    /// Why the partitions cannot be shared with the other workers; `nil` where they can, or there are none.
    func show(partitions problem: String?) { state.withLock { $0.partitionProblem = problem } }

    var partitionProblem: String? { state.withLock { $0.partitionProblem } }

    /// A batch of the store ended, or should have by now.
    func storeAnswered(_ failure: (any Error)?) {
        let text = failure.map { "\($0)" }
        state.withLock {
            $0.storeFailure = text
            $0.storeAnsweredAt = .now
        }
    }

    var storeFailure: String? { state.withLock { $0.storeFailure } }

    /// When the store last answered, well or not.
    var storeAnsweredAt: ContinuousClock.Instant? { state.withLock { $0.storeAnsweredAt } }
}
