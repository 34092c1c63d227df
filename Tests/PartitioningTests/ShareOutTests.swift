// Transcripts of one worker's share: event in, action out.
import Partitioning
import RoutingContract
import Testing

@Suite struct ShareOutTests {
    private var random = SeededGenerator(seed: 1)

    private func seen(_ workers: Int, wanting: Int = 0, unserved: Set<Int> = []) -> ShareOut.Observation {
        ShareOut.Observation(workers: workers, wantingOne: wanting, wantingShare: wanting, unserved: unserved)
    }

    /// A worker that serves all of `count` partitions, alone.
    private mutating func alone(_ count: Int) -> ShareOut {
        var share = ShareOut(partitions: count)
        let taken = share.observed(seen(1, unserved: Set(0..<count)), now: .zero, using: &random)
        #expect(Set(taken) == Set((0..<count).map { .acquire($0) }))
        for partition in 0..<count { #expect(share.lockHeld(partition) == [.serve(partition)]) }
        return share
    }

    @Test mutating func oneWorkerServesAll() {
        var share = alone(4)
        #expect(share.serving == [0, 1, 2, 3])
        #expect(share.observed(seen(1), now: .seconds(1), using: &random) == [])
    }

    @Test mutating func aPartitionOfSomebodyElseIsTriedAgainWithTheNextLook() {
        var share = ShareOut(partitions: 1)
        #expect(share.observed(seen(1, unserved: [0]), now: .zero, using: &random) == [.acquire(0)])
        // Asked for already.
        #expect(share.observed(seen(1, unserved: [0]), now: .seconds(1), using: &random) == [])
        #expect(share.lockRefused(0) == [])
        #expect(share.observed(seen(1, unserved: [0]), now: .seconds(2), using: &random) == [.acquire(0)])
    }

    @Test mutating func theSurplusIsGivenUpOneAtATimeAndTheLockLast() throws {
        var share = alone(4)
        let first = share.observed(seen(2), now: .seconds(1), using: &random)
        guard first.count == 1, case .drain(let one) = first[0] else {
            Issue.record("\(first)")
            return
        }
        // Nothing more before that one is gone.
        #expect(share.observed(seen(2), now: .seconds(2), using: &random) == [])
        #expect(share.held.count == 4 && share.serving.count == 3)
        #expect(share.drained(one) == [.leave(one)])
        #expect(share.drained(one) == [])
        // Then the next one at once, without another look.
        let second = share.lockLost(one, using: &random)
        guard second.count == 1, case .drain(let two) = second[0] else {
            Issue.record("\(second)")
            return
        }
        #expect(share.drained(two) == [.leave(two)])
        #expect(share.lockLost(two, using: &random) == [])
        #expect(share.held.count == 2)
    }

    @Test mutating func whatNobodyTakesIsTakenAboveTheShareAndKept() {
        var share = ShareOut(partitions: 4, patience: .seconds(10))
        let shareTaken = share.observed(seen(2, unserved: [0, 1, 2, 3]), now: .zero, using: &random)
        #expect(shareTaken.count == 2)
        for case .acquire(let partition) in shareTaken { _ = share.lockHeld(partition) }
        let rest = Set(0..<4).subtracting(share.held)
        #expect(share.observed(seen(2, unserved: rest), now: .seconds(9), using: &random) == [])
        let orphans = share.observed(seen(2, unserved: rest), now: .seconds(10), using: &random)
        #expect(Set(orphans) == Set(rest.map { .acquire($0) }))
        for partition in rest { _ = share.lockHeld(partition) }
        #expect(share.observed(seen(2), now: .seconds(11), using: &random) == [])
        // Somebody would take one: the share counts again.
        let given = share.observed(
            ShareOut.Observation(workers: 2, wantingOne: 1, wantingShare: 0, unserved: []), now: .seconds(12),
            using: &random)
        guard case .drain? = given.first, given.count == 1 else {
            Issue.record("\(given)")
            return
        }
    }

    @Test mutating func aFreeSpellThatEndsDoesNotCount() {
        var share = ShareOut(partitions: 2, patience: .seconds(10))
        let first = share.observed(seen(2, unserved: [0, 1]), now: .zero, using: &random)
        guard case .acquire(let mine)? = first.first else {
            Issue.record("\(first)")
            return
        }
        _ = share.lockHeld(mine)
        let other = 1 - mine
        #expect(share.observed(seen(2), now: .seconds(5), using: &random) == [])
        #expect(share.observed(seen(2, unserved: [other]), now: .seconds(6), using: &random) == [])
        #expect(share.observed(seen(2, unserved: [other]), now: .seconds(15), using: &random) == [])
        #expect(share.observed(seen(2, unserved: [other]), now: .seconds(16), using: &random) == [.acquire(other)])
    }

    @Test mutating func whoHasLessThanTheSmallShareSaysSo() {
        var share = ShareOut(partitions: 4)
        #expect(share.observed(seen(3), now: .zero, using: &random) == [.wanting(.share)])
        #expect(share.observed(seen(3, wanting: 1), now: .seconds(1), using: &random) == [])
        #expect(
            share.observed(seen(3, wanting: 1, unserved: [2]), now: .seconds(2), using: &random)
                == [.acquire(2), .wanting(.oneMore)])
        _ = share.lockHeld(2)
        #expect(
            share.observed(seen(3, unserved: [1]), now: .seconds(3), using: &random)
                == [.acquire(1), .wanting(.nothing)])
    }

    @Test mutating func whoHasMoreThanTheSmallShareHelpsThoseInWant() {
        var share = ShareOut(partitions: 4)
        for case .acquire(let partition) in share.observed(
            seen(3, unserved: [0, 1, 2, 3]), now: .zero, using: &random)
        { _ = share.lockHeld(partition) }
        #expect(share.serving.count == 2)
        var actions: [ShareOut.Action] = []
        for second in 1...64 where actions.isEmpty {
            actions = share.observed(seen(3, wanting: 1), now: .seconds(second), using: &random)
        }
        // Once it is gone, this one is content with either share, too.
        guard case .drain? = actions.first, actions.dropFirst() == [.wanting(.oneMore)] else {
            Issue.record("\(actions)")
            return
        }
    }

    @Test mutating func aLostConnectionTakesEverythingAlong() {
        var share = alone(2)
        #expect(share.lockLost(0, using: &random) == [])
        #expect(share.lockLost(1, using: &random) == [])
        #expect(share.held == [])
        #expect(share.observed(seen(1, unserved: [0, 1]), now: .seconds(1), using: &random).count == 2)
    }

    @Test mutating func afterTheCloseNothingIsTaken() {
        var share = alone(2)
        share.close()
        #expect(share.observed(seen(2, unserved: []), now: .seconds(1), using: &random) == [])
        #expect(share.lockLost(0, using: &random) == [])
        #expect(share.observed(seen(1, unserved: [0]), now: .seconds(2), using: &random) == [])
    }
}
