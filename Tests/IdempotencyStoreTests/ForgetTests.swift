// Every store forgets a person's conversation, and no RequestId with it.

import IdempotencyStore
import RoutingContract
import Testing

@Suite struct ForgetTests {
    private let conversation = ConversationKey(org: someOrg, conversation: "c")
    private let otherOrg = OrgID("00D000000000002")!

    /// A command that ended with an answer.
    private func end(
        _ key: CommandKey, conversation: String = "c", as outcome: Outcome = .succeeded, reason: String? = nil,
        issuedAt: Timestamp? = nil, in store: any InspectedStore
    ) async throws {
        let wish = request(key, conversation: conversation, issuedAt: issuedAt)
        let claim = try #require(try await store.claim(wish).acquired)
        #expect(try await store.record(result(outcome, reason: reason), for: claim) == .held)
    }

    private func found(_ conversation: ConversationKey, in store: any InspectedStore) async throws -> Set<CommandKey> {
        let keys = try await store.commands(of: conversation) { _ in }
        #expect(Set(keys).count == keys.count)
        return Set(keys)
    }

    @Test(arguments: StoreKind.allCases)
    func theAnswerGoesAndTheRequestIdStays(_ kind: StoreKind) async throws {
        try await kind.withStore { store, clock in
            try await end(key(1), in: store)
            try await end(key(2), as: .rejected, reason: "refused", in: store)
            for key in [key(1), key(2)] { #expect(try await store.forget(key, of: conversation) == .forgotten) }

            let first = try #require(try await store.find(key(1)))
            guard case .completed(let ending) = first.state else { Issue.record("\(first.state)"); return }
            #expect(ending.result.outcome == .succeeded && ending.result.response == nil)
            #expect(first.history.conversation == nil && first.history.entries?.last?.event == .forgotten)
            #expect(first.fingerprint == fingerprint(0) && first.keepUntil > clock.now)

            // Duplicates, conflicts and replays are answered as before, without a call.
            guard case .completed(let told, replay: 0) = try await store.claim(request(key(2))) else {
                Issue.record("the duplicate was not told")
                return
            }
            #expect(told.outcome == .rejected && told.error?.reason == "refused" && told.error?.code == 10019)
            #expect(told.response == nil && told.error?.message != "in words")
            #expect(try await store.claim(request(key(1), meaning: 9)) == .conflict)
            #expect(try await store.forget(key(1), of: conversation) == .nothing)
            // A replay takes it up again, and so it belongs to its conversation again.
            #expect(try await store.claim(request(key(2), replay: 1)).acquired != nil)
            #expect(try await found(conversation, in: store) == [key(2)])
        }
    }

    @Test(arguments: StoreKind.allCases)
    func onlyThisConversationOfThisOrgIsFound(_ kind: StoreKind) async throws {
        try await kind.withStore { store, _ in
            // More than one step looks at.
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in UInt16(0)..<450 {
                    group.addTask {
                        var bytes = SIMD16<UInt8>(repeating: UInt8(number % 251))
                        (bytes[1], bytes[2]) = (UInt8(number >> 8), UInt8(number & 0xFF))
                        let key = CommandKey(org: someOrg, kind: .route, request: RequestID(bytes: bytes))
                        try await end(key, conversation: "someone else's \(number)", in: store)
                    }
                }
                try await group.waitForAll()
            }
            let theirs = CommandKey(org: otherOrg, kind: .route, request: key(201).request)
            try await end(theirs, in: store)
            let ours = [key(202), key(203), key(204, .delete)]
            for key in ours { try await end(key, in: store) }

            var seen: [Int] = []
            let keys = try await store.commands(of: conversation) { seen.append($0) }
            #expect(Set(keys) == Set(ours) && keys.count == 3)
            #expect(seen.last.map { $0 >= 453 } == true && seen == seen.sorted())
            let other = ConversationKey(org: otherOrg, conversation: "c")
            #expect(try await found(other, in: store) == [theirs])
            #expect(try await store.forget(theirs, of: conversation) == .nothing)
            for key in ours { #expect(try await store.forget(key, of: conversation) == .forgotten) }
            #expect(try await found(conversation, in: store).isEmpty)
            #expect(try await found(other, in: store) == [theirs])
            guard case .completed(let ending) = try #require(try await store.find(theirs)).state else { return }
            #expect(ending.result.response != nil)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func whatIsInWorkIsToldAndLeft(_ kind: StoreKind) async throws {
        try await kind.withStore { store, clock in
            let claim = try #require(try await store.claim(request(key(1))).acquired)
            let before = try await store.find(key(1))
            #expect(try await store.forget(key(1), of: conversation) == .underWay)
            #expect(try await store.find(key(1)) == before)
            clock.advance(by: .seconds(60))
            #expect(try await store.forget(key(1), of: conversation) == .underWay)
            #expect(try await store.record(result(.succeeded), for: claim) == .lost)
            let next = try #require(try await store.claim(request(key(1))).claim)

            _ = try await store.release(next, as: .forRetry(attempts: 2, mayHaveTakenEffect: true))
            #expect(try await store.forget(key(1), of: conversation) == .forgotten)
            #expect(try await store.find(key(1))?.attempts == 2)
            // Its next claim brings the conversation along.
            let last = try #require(try await store.claim(request(key(1))).acquired)
            #expect(last.attempts == 2 && last.mayHaveTakenEffect)
            #expect(try await found(conversation, in: store) == [key(1)])
            #expect(try await store.record(result(.succeeded), for: last) == .held)
            #expect(try await store.forget(key(1), of: conversation) == .forgotten)
            #expect(try await found(conversation, in: store).isEmpty)
            #expect(try await store.forget(key(9), of: conversation) == .nothing)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func theMarkOfADeleteGoes(_ kind: StoreKind) async throws {
        try await kind.withStore { store, clock in
            try await end(key(1, .delete), issuedAt: start, in: store)
            try await end(key(2, .delete), conversation: "d", issuedAt: start, in: store)
            #expect(try await store.forgetMark(of: conversation) == .forgotten)
            #expect(try await store.forgetMark(of: conversation) == .nothing)
            let early = start + .seconds(-5)
            #expect(try await store.claim(request(key(3), issuedAt: early)).acquired != nil)
            guard case .superseded = try await store.claim(request(key(4), conversation: "d", issuedAt: early)) else {
                Issue.record("the other conversation's mark is gone")
                return
            }
            // A new delete leaves a new one, and the purge minds neither.
            try await store.mark(request(key(5, .delete), issuedAt: start))
            guard case .superseded = try await store.claim(request(key(6), issuedAt: early)) else {
                Issue.record("there is no new mark")
                return
            }
            clock.advance(by: .seconds(30 * 24 * 3600))
            #expect(try await store.purge(limit: 100) == 7)
        }
    }
}
