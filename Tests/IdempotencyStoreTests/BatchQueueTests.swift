// Gathering, answering and giving up, as transcripts without tasks.

import RoutingContract
import Testing

@testable import IdempotencyStore

@Suite struct BatchQueueTests {
    private let zero = ContinuousClock.now

    private func purge(_ number: Int) -> StoreOperation { .purge(limit: number) }

    private func queue(maximumBatch: Int = 3, maximumWaiting: Int = 100, lingers: Bool = false) -> BatchQueue<String> {
        BatchQueue(maximumBatch: maximumBatch, maximumWaiting: maximumWaiting, lingers: lingers)
    }

    private func done(_ count: Int) -> Result<[StoreReply], StoreError> {
        .success((0..<count).map { .purged($0, more: false) })
    }

    @Test func oneRunnerTakesWhatArrivedMeanwhile() {
        var queue = queue()
        #expect(
            queue.enqueue(purge(1), waiter: "a", deadline: zero)
                == .init(startsRunner: true, startsTimekeeper: true))
        #expect(queue.next() == .run([purge(1)]))
        for (number, waiter) in ["b", "c", "d", "e"].enumerated() {
            #expect(queue.enqueue(purge(number + 2), waiter: waiter, deadline: zero) == .init())
        }
        let first = queue.finish(done(1))
        #expect(first == ["a"])
        #expect(queue.next() == .run([purge(2), purge(3), purge(4)]))
        let second = queue.finish(done(3))
        #expect(second == ["b", "c", "d"])
        #expect(queue.next() == .run([purge(5)]))
        #expect(queue.finish(done(1)) == ["e"])
        #expect(queue.next() == .rest)
        #expect(queue.enqueue(purge(6), waiter: "f", deadline: zero) == .init(startsRunner: true))
    }

    @Test func aFailedBatchFailsItsCallersOnly() {
        var queue = queue()
        _ = queue.enqueue(purge(1), waiter: "a", deadline: zero)
        _ = queue.next()
        _ = queue.enqueue(purge(2), waiter: "b", deadline: zero)
        #expect(queue.finish(.failure(.unavailable("gone"))) == ["a"])
        #expect(queue.next() == .run([purge(2)]))
        #expect(queue.finish(done(1)) == ["b"])
    }

    @Test func itLingersOncePerBatchUnderLoadAndNotForAFullOne() {
        var queue = queue(lingers: true)
        _ = queue.enqueue(purge(1), waiter: "a", deadline: zero)
        #expect(queue.next() == .run([purge(1)]), "at once when idle")
        _ = queue.enqueue(purge(2), waiter: "b", deadline: zero)
        _ = queue.finish(done(1))
        #expect(queue.next() == .linger)
        #expect(queue.next() == .run([purge(2)]))
        for number in 3...5 { _ = queue.enqueue(purge(number), waiter: "c", deadline: zero) }
        _ = queue.finish(done(1))
        #expect(queue.next() == .run([purge(3), purge(4), purge(5)]))
        _ = queue.finish(done(3))
        #expect(queue.next() == .rest)
        _ = queue.enqueue(purge(6), waiter: "d", deadline: zero)
        #expect(queue.next() == .run([purge(6)]), "idle in between")
    }

    @Test func beyondItsBoundItRefuses() {
        var queue = queue(maximumWaiting: 2)
        _ = queue.enqueue(purge(1), waiter: "a", deadline: zero)
        _ = queue.enqueue(purge(2), waiter: "b", deadline: zero)
        guard case .unavailable = queue.enqueue(purge(3), waiter: "c", deadline: zero).refusal else {
            Issue.record("expected a refusal")
            return
        }
        #expect(queue.next() == .run([purge(1), purge(2)]))
        #expect(queue.enqueue(purge(3), waiter: "c", deadline: zero).refusal == nil)
    }

    @Test func whoeverWaitedLongEnoughLeavesAndWhatHasNotBegunIsDropped() {
        var queue = queue()
        for (number, waiter) in ["a", "b"].enumerated() {
            _ = queue.enqueue(purge(number), waiter: waiter, deadline: zero + .seconds(number))
        }
        #expect(queue.next() == .run([purge(0), purge(1)]))
        _ = queue.enqueue(purge(2), waiter: "c", deadline: zero + .seconds(2))
        _ = queue.enqueue(purge(3), waiter: "d", deadline: zero + .seconds(3))
        #expect(queue.nextDeadline() == zero)
        #expect(queue.expire(at: zero) == ["a"])
        #expect(queue.nextDeadline() == zero + .seconds(1))
        #expect(queue.expire(at: zero + .seconds(2)) == ["b", "c"])
        #expect(queue.finish(done(2)) == [nil, nil])
        #expect(queue.next() == .run([purge(3)]))
        #expect(queue.finish(done(1)) == ["d"])
        #expect(queue.nextDeadline() == nil)
        #expect(queue.next() == .rest)
        #expect(
            queue.enqueue(purge(4), waiter: "e", deadline: zero) == .init(startsRunner: true, startsTimekeeper: true))
    }

    @Test func aClaimForNobodyIsGivenBack() {
        var queue = queue()
        _ = queue.enqueue(.claim(request(key(1))), waiter: "a", deadline: zero)
        _ = queue.enqueue(.claim(request(key(2))), waiter: "b", deadline: zero + .seconds(1))
        _ = queue.next()
        #expect(queue.expire(at: zero) == ["a"])
        let claims = [
            Claim(key: key(1), token: 1, attempts: 2, mayHaveTakenEffect: true), Claim(key: key(2), token: 2),
        ]
        #expect(queue.finish(.success(claims.map { .claim(.acquired($0)) })) == [nil, "b"])
        let release = StoreOperation.release(claims[0], .forRetry(attempts: 2, mayHaveTakenEffect: true))
        _ = queue.enqueue(purge(1), waiter: "c", deadline: zero + .seconds(2))
        #expect(queue.expire(at: zero + .seconds(3)) == ["c"], "what is given back waits for nobody")
        #expect(queue.next() == .run([release]))
        #expect(queue.finish(.success([.fencing(.held)])) == [nil])
        #expect(queue.next() == .rest)
    }

    @Test func closingFinishesWhatWaitsAndRefusesTheRest() {
        var queue = queue()
        _ = queue.enqueue(.claim(request(key(1))), waiter: "a", deadline: zero)
        _ = queue.next()
        _ = queue.enqueue(purge(1), waiter: "b", deadline: zero + .seconds(5))
        #expect(queue.close(waiter: "close", deadline: zero + .seconds(5)) == .init())
        #expect(queue.enqueue(purge(2), waiter: "c", deadline: zero).refusal == .closed)
        #expect(queue.close(waiter: "close again", deadline: zero + .seconds(6)) == .init())
        #expect(queue.expire(at: zero) == ["a"])
        let claim = Claim(key: key(1), token: 1)
        #expect(queue.finish(.success([.claim(.acquired(claim))])) == [nil])
        let release = StoreOperation.release(claim, .forRetry(attempts: 0, mayHaveTakenEffect: false))
        #expect(queue.next() == .run([release, purge(1)]))
        #expect(queue.finish(done(2)) == [nil, "b"])
        #expect(queue.expire(at: zero + .seconds(5)) == ["close"])
        #expect(queue.next() == .close)
        #expect(queue.finishClosing() == ["close again"])
        #expect(queue.next() == .rest)
    }
}
