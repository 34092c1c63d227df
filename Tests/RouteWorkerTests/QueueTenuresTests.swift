// Transcripts of queues that come and go.

import Testing

@testable import RouteWorker

@Suite struct QueueTenuresTests {
    /// Queue 0 has no lock, queue 1 has.
    private var tenures = QueueTenures(locked: [false, true])

    private mutating func takeOver() throws {
        tenures.lockHeld(1)
        let tenure = try #require(tenures.tenure(of: 1))
        #expect(tenures.tookOver(1, in: tenure) == true)
    }

    @Test mutating func aQueueIsServedAfterItsLockAndTheLookAtItsLots() throws {
        #expect(tenures.serves(0) && !tenures.serves(1))
        #expect(tenures.tenure(of: 1) == nil)
        tenures.lockHeld(1)
        #expect(!tenures.serves(1))
        try takeOver()
        #expect(tenures.serves(1))
    }

    @Test mutating func aLookThatBeganInAnEarlierTenureDoesNotCount() throws {
        tenures.lockHeld(1)
        let first = try #require(tenures.tenure(of: 1))
        tenures.lockLost(1)
        #expect(tenures.tookOver(1, in: first) == false)
        tenures.lockHeld(1)
        #expect(tenures.tookOver(1, in: first) == false)
        #expect(!tenures.serves(1))
    }

    @Test mutating func nothingIsServedThatIsGivenUp() throws {
        tenures.lockHeld(1)
        let tenure = try #require(tenures.tenure(of: 1))
        #expect(tenures.giveUp(1) == true)
        #expect(tenures.tookOver(1, in: tenure) == false)
        #expect(!tenures.serves(1))
        tenures.lockLost(1)
        #expect(tenures.giveUp(1) == false)
    }

    @Test mutating func itIsHandedOverWhenCommandsAndLotsAreDone() throws {
        try takeOver()
        tenures.began(1)
        tenures.openedLot(of: 1)
        #expect(tenures.giveUp(1) == true)
        #expect(!tenures.isQuiet(1))
        tenures.ended(1)
        #expect(tenures.isQuiet(1) && !tenures.isHandedOver(1))
        tenures.closedLot(of: 1)
        #expect(tenures.isHandedOver(1))
    }

    @Test mutating func aLostConnectionClosesTheLotsAndLeavesWhatIsUnderWay() throws {
        try takeOver()
        tenures.began(1)
        tenures.openedLot(of: 1)
        tenures.lockLost(1)
        #expect(!tenures.isHandedOver(1))
        tenures.ended(1)
        #expect(tenures.isHandedOver(1))
        // Of one that was opened when the lock was gone already.
        tenures.closedLot(of: 1)
        #expect(tenures.isHandedOver(1))
    }

    @Test func partitionsStandInOneLine() {
        let settings = PipelineSettings(
            worker: "w",
            queues: [
                .init(name: "c.0", reservedConcurrency: 2, lock: "c.0.owner"), .init(name: "t", reservedConcurrency: 3),
                .init(name: "c.1", reservedConcurrency: 2, lock: "c.1.owner"), .init(name: "r"),
            ])
        #expect(settings.sources.ofQueues == [0, 1, 0, 2])
        #expect(settings.sources.reserved == [2, 3, 0])
    }
}
