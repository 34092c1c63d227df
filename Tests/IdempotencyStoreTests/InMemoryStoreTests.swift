// What concerns the store in memory alone: its bound.

import IdempotencyStore
import RoutingContract
import Testing

@Suite struct InMemoryStoreTests {
    private let clock = HandClock()

    private func store(maximumEntries: Int) -> BatchingIdempotencyStore<InMemoryStoreBackend> {
        BatchingIdempotencyStore(InMemoryStoreBackend(maximumEntries: maximumEntries, clock: clock.storeClock))
    }

    private func isFull(_ body: () async throws -> Void) async throws -> Bool {
        do {
            try await body()
            return false
        } catch StoreError.full {
            return true
        }
    }

    @Test func aFullStoreTakesNothingNewButServesWhatItKnows() async throws {
        let store = store(maximumEntries: 2)
        let claim = try #require(try await store.claim(request(key(1))).acquired)
        _ = try await store.claim(request(key(2)))
        #expect(try await isFull { _ = try await store.claim(request(key(3))) })
        #expect(try await isFull { try await store.mark(request(key(4, .delete), issuedAt: start)) })
        #expect(try await store.record(result(.succeeded), for: claim) == .held)
        #expect(try await store.claim(request(key(1))) == .completed(result(.succeeded), replay: 0))
        clock.advance(by: .seconds(24 * 3600 + 30))
        #expect(try await store.claim(request(key(3))).acquired != nil, "the first one's retention is over")
        #expect(try await isFull { _ = try await store.claim(request(key(4))) })
    }

    @Test func aDeleteNeedsRoomForItsMarkToo() async throws {
        let store = store(maximumEntries: 1)
        #expect(try await isFull { _ = try await store.claim(request(key(1, .delete), issuedAt: start)) })
        #expect(try await store.claim(request(key(1, .delete))).acquired != nil)
    }

    @Test func forgottenCommandsLeaveRoom() async throws {
        let store = store(maximumEntries: 1)
        for _ in 0..<5000 {
            let claim = try #require(try await store.claim(request(key(1))).acquired)
            _ = try await store.release(claim, as: .unbound)
        }
        let claim = try #require(try await store.claim(request(key(1))).acquired)
        _ = try await store.record(result(.succeeded), for: claim)
        clock.advance(by: .seconds(24 * 3600 + 30))
        #expect(try await store.purge(limit: 10_000) == 1)
    }
}
