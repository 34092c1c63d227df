// Transcripts of what a worker does about its partitions.

import AMQP
import Partitioning
import RoutingContract
import Testing

@testable import RouteWorker

@Suite struct PartitionDeskTests {
    private var desk = PartitionDesk(PartitionedQueue(name: "c", count: 2, exchange: "x"))

    private func seen(_ workers: Int, unserved: Set<Int> = []) -> PartitionInbox.Event {
        .observed(
            ShareOut.Observation(workers: workers, wantingOne: 0, wantingShare: 0, unserved: unserved), now: .now)
    }

    /// Both locks are held, and both partitions consumed.
    private mutating func serveBoth() {
        let first = desk.take(seen(1, unserved: [0, 1]))
        #expect(Set(first) == [.acquire(0), .acquire(1)])
        #expect(desk.take(.lockHeld(0)) == [.takeOver([0])])
        // One look after another.
        #expect(desk.take(.lockHeld(1)) == [])
        #expect(desk.take(.tookOver([0])) == [.consume(0), .takeOver([1])])
        #expect(desk.take(.tookOver([1])) == [.consume(1)])
    }

    @Test mutating func aPartitionIsConsumedAfterTheLookAtWhatIsParked() {
        serveBoth()
        #expect(desk.workers == 1)
    }

    @Test mutating func aLookThatFailedIsRepeated() {
        _ = desk.take(seen(1, unserved: [0]))
        #expect(desk.take(.lockHeld(0)) == [.takeOver([0])])
        #expect(desk.take(.tookOver(nil)) == [.takeOver([0])])
        #expect(desk.take(.tookOver([0])) == [.consume(0)])
    }

    @Test mutating func aLockThatIsLostAndHeldAgainNeedsALookOfItsOwn() {
        _ = desk.take(seen(1, unserved: [0]))
        #expect(desk.take(.lockHeld(0)) == [.takeOver([0])])
        #expect(desk.take(.lockLost(0)) == [])
        _ = desk.take(seen(1, unserved: [0]))
        #expect(desk.take(.lockHeld(0)) == [])
        #expect(desk.take(.tookOver([0])) == [.takeOver([0])])
        #expect(desk.take(.tookOver([0])) == [.consume(0)])
    }

    @Test mutating func theSurplusIsHandedOverAndOnlyTheHandOverOfThisTenureCounts() throws {
        serveBoth()
        let steps = desk.take(seen(2))
        guard case .handOver(let number, let tenure)? = steps.first, steps.count == 1 else {
            Issue.record("\(steps)")
            return
        }
        #expect(desk.take(.handedOver(number, tenure: tenure - 1)) == [])
        #expect(desk.take(.handedOver(number, tenure: tenure)) == [.leave(number)])
        #expect(desk.take(.lockLost(number)) == [])
    }

    @Test mutating func aPartitionThatIsGivenUpBeforeItsLookIsNotConsumed() {
        _ = desk.take(seen(1, unserved: [0, 1]))
        _ = desk.take(.lockHeld(0))
        _ = desk.take(.lockHeld(1))
        guard case .handOver(let number, _)? = desk.take(seen(2)).first else {
            Issue.record("no hand-over")
            return
        }
        let steps = desk.take(.tookOver([0]))
        #expect(!steps.contains(.consume(number)))
        #expect(!steps.contains(.takeOver([number])))
    }

    @Test mutating func whatIsWantedIsShownByConsuming() {
        #expect(desk.take(seen(1)) == [.join("c.wanting.one"), .join("c.wanting.share")])
    }

    @Test mutating func aRefusalThatDoesNotPassIsWarnedOfOnce() {
        _ = desk.take(seen(1, unserved: [0]))
        #expect(desk.take(.lockRefused(0, .channelClosed(code: 405, text: "locked"))) == [])
        _ = desk.take(seen(1, unserved: [0]))
        let refusal = AMQPError.accessRefused("no")
        #expect(desk.take(.lockRefused(0, refusal)) == [.warn(0, refusal)])
        _ = desk.take(seen(1, unserved: [0]))
        #expect(desk.take(.lockRefused(0, refusal)) == [])
        _ = desk.take(seen(1, unserved: [0]))
        #expect(desk.take(.lockRefused(0, .connectionLost("gone"))) == [])
    }
}
