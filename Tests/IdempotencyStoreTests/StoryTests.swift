// What every store remembers of a command for those who ask later.

import IdempotencyStore
import RoutingContract
import Testing

@Suite struct StoryTests {
    private func call(_ status: Int, _ reason: String = "", after seconds: Int64 = 0) -> CallNote {
        CallNote(
            startedAt: start + .seconds(seconds), duration: .milliseconds(40), end: .answered(status: status),
            reason: reason)
    }

    private func wish(
        _ number: UInt8, worker: String, earlierDeliveries: Int = 0, replay: Int = 0
    ) -> ClaimRequest {
        var wish = request(key(number), replay: replay)
        wish.worker = worker
        wish.delivery = DeliveryNote(receivedAt: start, earlierDeliveries: earlierDeliveries)
        return wish
    }

    private func claimed(
        _ kind: ClaimNote.Kind, _ worker: String, earlierDeliveries: Int = 0, replay: Int = 0
    ) -> HistoryEntry.Event {
        let delivery = DeliveryNote(receivedAt: start, earlierDeliveries: earlierDeliveries)
        return .claimed(ClaimNote(kind: kind, worker: worker, delivery: delivery, replay: replay))
    }

    @Test(arguments: StoreKind.allCases)
    func nothingIsKnownOfWhatWasNeverClaimed(_ kind: StoreKind) async throws {
        try await kind.withStore { store, _ in
            try await store.mark(request(key(1, .delete), issuedAt: start))
            #expect(try await store.find(key(1, .delete)) == nil)
            #expect(try await store.find(key(1)) == nil)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func theWholeLifeOfACommandIsTold(_ kind: StoreKind) async throws {
        try await kind.withStore { store, clock in
            let begin = clock.now
            var first = try #require(try await store.claim(wish(1, worker: "a")).acquired)
            first.calls = [call(503, "busy")]
            clock.advance(by: .seconds(1))
            _ = try await store.release(first, as: .forRetry(attempts: 1, mayHaveTakenEffect: false))
            clock.advance(by: .seconds(1))
            _ = try await store.claim(wish(1, worker: "a"))
            clock.advance(by: .seconds(31))
            var third = try #require(try await store.claim(wish(1, worker: "b", earlierDeliveries: 1)).claim)
            third.calls = [call(202, after: 33)]
            let success = result(.succeeded, attempts: 3)
            _ = try await store.record(success, for: third)
            clock.advance(by: .seconds(5))
            for _ in 0..<3 { _ = try await store.claim(wish(1, worker: "c", earlierDeliveries: 2)) }
            _ = try await store.claim(request(key(1), meaning: 9))

            let record = try #require(try await store.find(key(1)))
            #expect(record.state == .completed(.init(result: success, replay: 0)))
            #expect(record.worker == "b" && record.attempts == 3)
            let entries = try #require(record.history.entries)
            #expect(
                entries.map(\.event) == [
                    claimed(.acquired, "a"), .called(call(503, "busy")), .released(unbound: false),
                    claimed(.acquired, "a"), claimed(.interrupted, "b", earlierDeliveries: 1),
                    .called(call(202, after: 33)), .ended(.succeeded, replay: 0),
                    .seenAgain(
                        SeenAgain(
                            kind: .duplicate, count: 3, lastAt: begin + .seconds(38), worker: "c",
                            delivery: DeliveryNote(receivedAt: start, earlierDeliveries: 2))),
                    .seenAgain(SeenAgain(kind: .conflict, lastAt: begin + .seconds(38), worker: "worker-1")),
                ])
            #expect(entries[0].at == begin && entries[2].at == begin + .seconds(1))
            #expect(record.history.conversation == ConversationTag(ConversationKey(org: someOrg, conversation: "c")))
        }
    }

    @Test(arguments: StoreKind.allCases)
    func aDuplicateChangesNothingButTheStory(_ kind: StoreKind) async throws {
        try await kind.withStore { store, clock in
            let claim = try #require(try await store.claim(wish(1, worker: "a")).acquired)
            _ = try await store.record(result(.rejected), for: claim)
            let before = try #require(try await store.find(key(1)))
            clock.advance(by: .seconds(60))
            _ = try await store.claim(wish(1, worker: "b"))
            _ = try await store.claim(request(key(1), meaning: 9))
            var after = try #require(try await store.find(key(1)))
            after.history = before.history
            #expect(after == before)
            // The newest token is still the claim's own.
            #expect(try await store.record(result(.succeeded), for: claim) == .held)
            #expect(try await store.claim(wish(2, worker: "a")).acquired.map { $0.token > claim.token } == true)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func callsUnderALostClaimAreToldWithTheNextOne(_ kind: StoreKind) async throws {
        try await kind.withStore { store, clock in
            var lost = try #require(try await store.claim(wish(1, worker: "a")).acquired)
            lost.calls = [call(202)]
            clock.advance(by: .seconds(31))
            let taken = try #require(try await store.claim(wish(1, worker: "b")).claim)
            #expect(try await store.record(result(.succeeded), for: lost) == .lost)
            _ = try await store.record(result(.unknown), for: taken)
            var again = wish(1, worker: "a")
            again.untoldCalls = lost.calls
            _ = try await store.claim(again)
            _ = try await store.claim(again)
            let events = try #require(try await store.find(key(1))?.history.entries).map(\.event)
            #expect(events.count { $0 == .called(call(202)) } == 1)
            #expect(events.count == 5)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func aReplayIsToldAndWhatIsForgottenStartsAnew(_ kind: StoreKind) async throws {
        try await kind.withStore { store, _ in
            let first = try #require(try await store.claim(wish(1, worker: "a")).acquired)
            _ = try await store.record(result(.exhausted), for: first)
            let second = try #require(try await store.claim(wish(1, worker: "a", replay: 1)).acquired)
            _ = try await store.release(second, as: .unbound)
            #expect(
                try await store.find(key(1))?.history.entries?.map(\.event) == [
                    claimed(.acquired, "a"), .ended(.exhausted, replay: 0), claimed(.reopened, "a", replay: 1),
                    .released(unbound: true),
                ])

            let expired = try #require(try await store.claim(wish(2, worker: "a")).acquired)
            _ = try await store.release(expired, as: .unbound)
            #expect(try await store.find(key(2)) == nil)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func thousandsOfAttemptsStayWithinTheBound(_ kind: StoreKind) async throws {
        try await kind.withStore { store, clock in
            for number in 1...Int64(100) {
                var claim = try #require(try await store.claim(wish(1, worker: "a")).acquired)
                claim.calls = [call(503, after: number)]
                _ = try await store.release(claim, as: .forRetry(attempts: Int(number), mayHaveTakenEffect: false))
                clock.advance(by: .seconds(1))
            }
            let history = try #require(try await store.find(key(1))?.history)
            #expect(history.entries?.count == 32 && history.dropped == 268)
            #expect(history.entries?.last?.event == .released(unbound: false))
            #expect(history.bytes.count < 1500)
        }
    }
}
