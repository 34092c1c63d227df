// The store that the pipeline talks to: gathers what callers ask for and has a backend run it as batches.

public import RoutingContract
import Synchronization

/// How a ``BatchingIdempotencyStore`` gathers and how long it waits.
public struct BatchSettings: Sendable, Hashable {
    /// Operations run as one batch at most; at least 1.
    public var maximumBatch = 256
    /// Operations that may wait; a further one is refused as unavailable. Callers are the real bound.
    public var maximumWaiting = 100_000
    /// Under load, how long to gather before the next batch unless it is full already. Zero takes what is there.
    public var linger: Duration = .zero
    /// How long a caller waits for its answer, waiting for its turn included.
    public var timeLimit: Duration = .seconds(5)
    /// Commands and marks that one step of a purge or a search looks at; other operations come between the steps.
    public var purgeStep = 200

    public init() {}
}

/// Group commit: an operation starts at once when the backend is idle; what arrives while a batch runs makes up the next.
///
/// No task and no hop belongs to a single operation: one runner works while anything waits and resumes the callers of a
/// batch together, one timekeeper sleeps until the oldest deadline. A claim whose caller gave up is given back.
public final class BatchingIdempotencyStore<Backend: StoreBackend>: IdempotencyStore, StoreInspection {
    private typealias Waiter = CheckedContinuation<Result<StoreReply, StoreError>, Never>

    private let backend: Backend
    private let settings: BatchSettings
    private let executor: (any TaskExecutor)?
    private let queue: Mutex<BatchQueue<Waiter>>

    /// - Parameter executor: where batches are put together and answered; best the callers' own event loop, so that a
    ///   batch crosses threads once each way. `nil` is the concurrent pool.
    public init(_ backend: Backend, settings: BatchSettings = BatchSettings(), executor: (any TaskExecutor)? = nil) {
        self.backend = backend
        self.settings = settings
        self.executor = executor
        queue = Mutex(
            BatchQueue(
                maximumBatch: max(1, settings.maximumBatch), maximumWaiting: max(1, settings.maximumWaiting),
                lingers: settings.linger > .zero))
    }

    public func claim(_ request: ClaimRequest) async throws(StoreError) -> ClaimResult {
        guard case .claim(let result) = try await perform(.claim(request)) else { mismatch() }
        return result
    }

    public func record(_ result: CommandResult, for claim: Claim) async throws(StoreError) -> Fencing {
        guard case .fencing(let fencing) = try await perform(.record(result, claim)) else { mismatch() }
        return fencing
    }

    public func release(_ claim: Claim, as release: Release) async throws(StoreError) -> Fencing {
        guard case .fencing(let fencing) = try await perform(.release(claim, release)) else { mismatch() }
        return fencing
    }

    public func mark(_ request: ClaimRequest) async throws(StoreError) {
        guard case .marked = try await perform(.mark(request)) else { mismatch() }
    }

    /// Purges in steps of ``BatchSettings/purgeStep``, each with its own time limit.
    public func purge(limit: Int) async throws(StoreError) -> Int {
        var removed = 0
        while removed < limit {
            let step = min(limit - removed, max(1, settings.purgeStep))
            guard case .purged(let count, let more) = try await perform(.purge(limit: step)) else { mismatch() }
            removed += count
            if !more { break }
        }
        return removed
    }

    public func find(_ key: CommandKey) async throws(StoreError) -> CommandRecord? {
        guard case .found(let record) = try await perform(.find(key)) else { mismatch() }
        return record
    }

    public func commands(
        of conversation: ConversationKey, progress: (Int) -> Void
    ) async throws(StoreError) -> [CommandKey] {
        var search = ConversationSearch(
            org: conversation.org, tag: ConversationTag(conversation), limit: max(1, settings.purgeStep))
        var found: [CommandKey] = []
        var known: Set<CommandKey> = []
        var seen = 0
        while true {
            guard case .searched(let step) = try await perform(.search(search)) else { mismatch() }
            found += step.commands.filter { known.insert($0).inserted }
            seen += step.seen
            progress(seen)
            guard let next = step.next else { return found }
            search.after = next
        }
    }

    public func forget(_ key: CommandKey, of conversation: ConversationKey) async throws(StoreError) -> Forgetting {
        guard case .forgot(let result) = try await perform(.forget(key, ConversationTag(conversation))) else {
            mismatch()
        }
        return result
    }

    public func forgetMark(of conversation: ConversationKey) async throws(StoreError) -> Forgetting {
        guard case .forgot(let result) = try await perform(.forgetMark(conversation)) else { mismatch() }
        return result
    }

    /// Waits at most ``BatchSettings/timeLimit``; a backend that is stuck is closed once it comes back.
    public func close() async {
        let deadline = ContinuousClock.now + settings.timeLimit
        _ = await withCheckedContinuation { waiter in
            start(queue.withLock { $0.close(waiter: waiter, deadline: deadline) }, waiter)
        }
    }

    private func perform(_ operation: StoreOperation) async throws(StoreError) -> StoreReply {
        let deadline = ContinuousClock.now + settings.timeLimit
        let result = await withCheckedContinuation { waiter in
            start(queue.withLock { $0.enqueue(operation, waiter: waiter, deadline: deadline) }, waiter)
        }
        let reply = try result.get()
        if case .failed(let error) = reply { throw error }
        return reply
    }

    /// Never a peer's doing: the backends are ours.
    private func mismatch() -> Never {
        preconditionFailure("a backend replies in kind")
    }

    private func start(_ enqueued: BatchQueue<Waiter>.Enqueued, _ waiter: Waiter) {
        if let refusal = enqueued.refusal { return waiter.resume(returning: .failure(refusal)) }
        // Not structured: both serve every caller that comes while they last, and none of them may take them along
        // when it is cancelled. They end by themselves when nothing waits.
        if enqueued.startsRunner { Task(executorPreference: executor) { await self.work() } }
        if enqueued.startsTimekeeper { Task(executorPreference: executor) { await self.keepTime() } }
    }

    private func work() async {
        while true {
            switch queue.withLock({ $0.next() }) {
            case .run(let operations):
                let result: Result<[StoreReply], StoreError>
                do throws(StoreError) {
                    result = .success(try await backend.run(operations))
                } catch {
                    result = .failure(error)
                }
                let waiters = queue.withLock { $0.finish(result) }
                switch result {
                case .success(let replies):
                    for (waiter, reply) in zip(waiters, replies) { waiter?.resume(returning: .success(reply)) }
                case .failure(let error):
                    for waiter in waiters { waiter?.resume(returning: .failure(error)) }
                }
            case .linger:
                // Nobody cancels this task, so the sleep cannot fail.
                try? await Task.sleep(for: settings.linger)
            case .close:
                await backend.close()
                for waiter in queue.withLock({ $0.finishClosing() }) { waiter.resume(returning: .success(.marked)) }
            case .rest:
                return
            }
        }
    }

    private func keepTime() async {
        while let deadline = queue.withLock({ $0.nextDeadline() }) {
            try? await Task.sleep(until: deadline, clock: .continuous)
            for waiter in queue.withLock({ $0.expire(at: .now) }) {
                waiter.resume(
                    returning: .failure(.unavailable("no answer within \(settings.timeLimit.wholeMilliseconds) ms")))
            }
        }
    }
}
