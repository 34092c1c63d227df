// The batching store with tasks and time, on a backend that a test answers by hand.

import IdempotencyStore
import RoutingContract
import Synchronization
import Testing

/// The one executor of these tests: a caller that was started has enqueued once another job of it runs.
@globalActor actor Callers {
    static let shared = Callers()
}

/// Hands every batch to the test and waits for what it replies.
private final class HandBackend: StoreBackend {
    struct Batch: Sendable {
        var operations: [StoreOperation]
        var reply: CheckedContinuation<Result<[StoreReply], StoreError>, Never>
    }

    let batches: AsyncStream<Batch>
    let closes = Mutex(0)
    private let feed: AsyncStream<Batch>.Continuation

    init() {
        (batches, feed) = AsyncStream.makeStream()
    }

    func run(_ batch: [StoreOperation]) async throws(StoreError) -> [StoreReply] {
        try await withCheckedContinuation { _ = feed.yield(Batch(operations: batch, reply: $0)) }.get()
    }

    func close() async {
        closes.withLock { $0 += 1 }
    }
}

@Callers @Suite struct BatchingTests {
    private typealias Caller = Task<Result<ClaimResult, StoreError>, Never>

    private let backend = HandBackend()

    private func start(_ number: UInt8, on store: BatchingIdempotencyStore<HandBackend>) -> Caller {
        Task {
            do throws(StoreError) {
                return .success(try await store.claim(request(key(number))))
            } catch {
                return .failure(error)
            }
        }
    }

    private func claims(_ numbers: UInt8...) -> [StoreOperation] { numbers.map { .claim(request(key($0))) } }

    @Test func itGathersWhileABatchRuns() async throws {
        let store = BatchingIdempotencyStore(backend)
        var batches = backend.batches.makeAsyncIterator()
        let first = start(1, on: store)
        let batch = try #require(await batches.next())
        #expect(batch.operations == claims(1))
        let others = (2...4).map { start($0, on: store) }
        await Task.yield()
        batch.reply.resume(returning: .success([.claim(.conflict)]))
        #expect(await first.value == .success(.conflict))

        let second = try #require(await batches.next())
        #expect(second.operations == claims(2, 3, 4))
        let replies = (1...3).map { StoreReply.claim(.inProgress(.seconds($0))) }
        second.reply.resume(returning: .success(replies))
        for (number, other) in others.enumerated() {
            #expect(await other.value == .success(.inProgress(.seconds(number + 1))))
        }
    }

    @Test func aBatchHasABound() async throws {
        var settings = BatchSettings()
        settings.maximumBatch = 2
        let store = BatchingIdempotencyStore(backend, settings: settings)
        var batches = backend.batches.makeAsyncIterator()
        let callers = (1...5).map { start($0, on: store) }
        await Task.yield()
        var seen: [StoreOperation] = []
        while seen.count < 5 {
            let batch = try #require(await batches.next())
            #expect(batch.operations.count <= 2)
            seen += batch.operations
            batch.reply.resume(returning: .success(batch.operations.map { _ in .claim(.conflict) }))
        }
        #expect(seen == claims(1, 2, 3, 4, 5))
        for caller in callers { #expect(await caller.value == .success(.conflict)) }
    }

    @Test func aFailureReachesItsOwnCallersOnly() async throws {
        let store = BatchingIdempotencyStore(backend)
        var batches = backend.batches.makeAsyncIterator()
        let first = start(1, on: store)
        let batch = try #require(await batches.next())
        let second = start(2, on: store)
        let third = start(3, on: store)
        await Task.yield()
        batch.reply.resume(returning: .failure(.unavailable("gone")))
        #expect(await first.value == .failure(.unavailable("gone")))
        let next = try #require(await batches.next())
        next.reply.resume(returning: .success([.failed(.full("to the brim")), .claim(.conflict)]))
        #expect(await second.value == .failure(.full("to the brim")))
        #expect(await third.value == .success(.conflict))
    }

    @Test func aStuckBackendKeepsNobodyAndItsLateClaimIsGivenBack() async throws {
        var settings = BatchSettings()
        settings.timeLimit = .milliseconds(20)
        let store = BatchingIdempotencyStore(backend, settings: settings)
        var batches = backend.batches.makeAsyncIterator()
        let first = start(1, on: store)
        let batch = try #require(await batches.next())
        let second = start(2, on: store)
        for caller in [first, second] {
            guard case .failure(.unavailable) = await caller.value else {
                Issue.record("expected unavailable")
                return
            }
        }
        let claim = Claim(key: key(1), token: 5)
        batch.reply.resume(returning: .success([.claim(.acquired(claim))]))
        let next = try #require(await batches.next())
        #expect(next.operations == [.release(claim, .forRetry(attempts: 0, mayHaveTakenEffect: false))])
        next.reply.resume(returning: .success([.fencing(.held)]))
    }

    @Test func aCancelledCallerStillGetsItsAnswer() async throws {
        let store = BatchingIdempotencyStore(backend)
        var batches = backend.batches.makeAsyncIterator()
        let caller = start(1, on: store)
        let batch = try #require(await batches.next())
        caller.cancel()
        batch.reply.resume(returning: .success([.claim(.acquired(Claim(key: key(1), token: 1)))]))
        #expect(await caller.value == .success(.acquired(Claim(key: key(1), token: 1))))
    }

    @Test func closeFinishesWhatWaitsAndThenRefuses() async throws {
        let store = BatchingIdempotencyStore(backend)
        var batches = backend.batches.makeAsyncIterator()
        let first = start(1, on: store)
        let batch = try #require(await batches.next())
        let second = start(2, on: store)
        await Task.yield()
        let closing = Task { await store.close() }
        await Task.yield()
        await #expect(throws: StoreError.closed) { try await store.claim(request(key(3))) }
        batch.reply.resume(returning: .success([.claim(.conflict)]))
        let next = try #require(await batches.next())
        #expect(backend.closes.withLock { $0 } == 0)
        next.reply.resume(returning: .success([.claim(.conflict)]))
        await closing.value
        #expect(await first.value == .success(.conflict))
        #expect(await second.value == .success(.conflict))
        #expect(backend.closes.withLock { $0 } == 1)
    }

    @Test func closeDoesNotWaitForAStuckBackend() async throws {
        var settings = BatchSettings()
        settings.timeLimit = .milliseconds(20)
        let store = BatchingIdempotencyStore(backend, settings: settings)
        var batches = backend.batches.makeAsyncIterator()
        let caller = start(1, on: store)
        let batch = try #require(await batches.next())
        await store.close()
        _ = await caller.value
        batch.reply.resume(returning: .success([.claim(.conflict)]))
    }

    @Test func aPurgeGoesInSteps() async throws {
        var settings = BatchSettings()
        settings.purgeStep = 10
        let store = BatchingIdempotencyStore(backend, settings: settings)
        var batches = backend.batches.makeAsyncIterator()
        let purge = Task { try await store.purge(limit: 25) }
        for (step, removed) in [(10, 10), (10, 0), (10, 10), (5, 2)] {
            let batch = try #require(await batches.next())
            #expect(batch.operations == [.purge(limit: step)])
            batch.reply.resume(returning: .success([.purged(removed, more: removed != 2)]))
        }
        #expect(try await purge.value == 22)
    }

    @Test func whoComesDuringAStepOfAPurgeIsServedBeforeItsNextOne() async throws {
        var settings = BatchSettings()
        settings.purgeStep = 10
        let store = BatchingIdempotencyStore(backend, settings: settings)
        var batches = backend.batches.makeAsyncIterator()
        let purge = Task { try await store.purge(limit: 20) }
        let step = try #require(await batches.next())
        let caller = start(1, on: store)
        await Task.yield()
        step.reply.resume(returning: .success([.purged(10, more: true)]))
        // The next step may have come in time for the same batch, behind the claim.
        let next = try #require(await batches.next())
        #expect(next.operations.first == claims(1)[0])
        let replies: [StoreReply] = [.claim(.conflict), .purged(0, more: false)]
        next.reply.resume(returning: .success(Array(replies.prefix(next.operations.count))))
        #expect(await caller.value == .success(.conflict))
        if next.operations.count == 1 {
            let last = try #require(await batches.next())
            #expect(last.operations == [.purge(limit: 10)])
            last.reply.resume(returning: .success([.purged(0, more: false)]))
        }
        #expect(try await purge.value == 10)
    }
}
