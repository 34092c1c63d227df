// Until when a parked transfer counts.

import RoutingContract
import Testing

@testable import RouteWorker

@Suite struct ParkedTransfersTests {
    private var transfers = ParkedTransfers()
    private let start = Timestamp(milliseconds: 1_000_000)

    private func key(_ number: Int) -> CommandKey {
        CommandKey(
            org: OrgID("00D000000000001")!, kind: .route,
            request: RequestID("6f1c2a3e-0d4b-4c5a-9e8f-00000000000\(number)")!)
    }

    /// Issued so many seconds after the start, and parked at once.
    private mutating func park(_ number: Int, of queue: Int = 0, at seconds: Int, deadline: Int) {
        transfers.parked(
            key(number), of: queue, issuedAt: start + .seconds(seconds), deadline: start + .seconds(deadline),
            now: start + .seconds(seconds))
    }

    private mutating func oldest(at seconds: Int) -> Timestamp? { transfers.oldest(now: start + .seconds(seconds)) }

    @Test mutating func theOldestThatHasNotComeBackCounts() {
        #expect(oldest(at: 0) == nil)
        park(1, at: 0, deadline: 40)
        park(2, at: 5, deadline: 45)
        #expect(oldest(at: 6) == start)
        transfers.cameBack(key(1))
        #expect(oldest(at: 6) == start + .seconds(5))
        transfers.cameBack(key(2))
        #expect(oldest(at: 6) == nil)
    }

    @Test mutating func itCountsUntilItsDeadlineAndForNoMoreThanAMinute() {
        park(1, at: 0, deadline: 40)
        park(2, at: 5, deadline: 1_000_000)
        #expect(oldest(at: 39) == start)
        #expect(oldest(at: 40) == start + .seconds(5))
        #expect(oldest(at: 64) == start + .seconds(5))
        #expect(oldest(at: 65) == nil)
    }

    @Test mutating func withItsQueueItIsAnotherWorkers() {
        park(1, of: 0, at: 0, deadline: 40)
        park(2, of: 1, at: 5, deadline: 45)
        transfers.gaveUp(0)
        #expect(oldest(at: 6) == start + .seconds(5))
    }
}
