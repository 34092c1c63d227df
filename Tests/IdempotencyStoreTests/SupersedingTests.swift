// Deletes' marks and retention, as every store promises them.

import IdempotencyStore
import RoutingContract
import Testing

@Suite struct SupersedingTests {
    private let early = start + .seconds(-20)
    private let late = start + .seconds(-10)

    @Test(arguments: StoreKind.allCases)
    func aDeletesFirstClaimSupersedesRoutesIssuedBefore(_ kind: StoreKind) async throws {
        try await kind.withStore { store, _ in
            _ = try await store.claim(request(key(1, .delete), issuedAt: late))
            let earlier = try await store.claim(request(key(2), issuedAt: early))
            guard case .superseded(let claim) = earlier else {
                Issue.record("expected superseded, not \(earlier)")
                return
            }
            #expect(try await store.record(result(.superseded), for: claim) == .held)
            #expect(
                try await store.claim(request(key(2), issuedAt: early)) == .completed(result(.superseded), replay: 0))

            #expect(try await store.claim(request(key(3), issuedAt: late)).acquired != nil, "issued at the same time")
            #expect(try await store.claim(request(key(4), issuedAt: start)).acquired != nil, "issued later")
            #expect(try await store.claim(request(key(5))).acquired != nil, "without an issue time")
            #expect(
                try await store.claim(request(key(6), conversation: "other", issuedAt: early)).acquired != nil,
                "of another conversation")
            #expect(
                try await store.claim(request(key(7, .delete), issuedAt: early)).acquired != nil,
                "deletes are never superseded")
        }
    }

    @Test(arguments: StoreKind.allCases)
    func aMarkActsAheadOfTheDelete(_ kind: StoreKind) async throws {
        try await kind.withStore { store, _ in
            try await store.mark(request(key(1, .delete), issuedAt: late))
            guard case .superseded = try await store.claim(request(key(2), issuedAt: early)) else {
                Issue.record("expected superseded")
                return
            }
            #expect(try await store.claim(request(key(1, .delete), issuedAt: late)).acquired != nil)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func onlyAFirstSeenDeleteWithAnIssueTimeLeavesAMark(_ kind: StoreKind) async throws {
        try await kind.withStore { store, _ in
            _ = try await store.claim(request(key(1, .delete)))
            try await store.mark(request(key(1, .delete), issuedAt: late))
            let claim = try #require(try await store.claim(request(key(2, .delete), conversation: "d")).acquired)
            _ = try await store.release(claim, as: .forRetry(attempts: 1, mayHaveTakenEffect: false))
            _ = try await store.claim(request(key(2, .delete), conversation: "d", issuedAt: late))
            try await store.mark(request(key(3, .delete)))
            try await store.mark(request(key(4), issuedAt: late))
            #expect(try await store.claim(request(key(5), issuedAt: early)).acquired != nil)
            #expect(try await store.claim(request(key(6), conversation: "d", issuedAt: early)).acquired != nil)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func theLatestMarkCounts(_ kind: StoreKind) async throws {
        try await kind.withStore { store, _ in
            try await store.mark(request(key(1, .delete), issuedAt: late))
            try await store.mark(request(key(2, .delete), issuedAt: early))
            let between = early + .seconds(5)
            guard case .superseded = try await store.claim(request(key(3), issuedAt: between)) else {
                Issue.record("expected superseded")
                return
            }
        }
    }

    @Test(arguments: StoreKind.allCases)
    func aRouteIsSupersededBetweenItsRetriesButNotAfterAPossibleEffect(_ kind: StoreKind) async throws {
        try await kind.withStore { store, clock in
            for (number, mayHave) in [(UInt8(1), false), (2, true)] {
                let claim = try #require(try await store.claim(request(key(number), issuedAt: early)).acquired)
                _ = try await store.release(claim, as: .forRetry(attempts: 1, mayHaveTakenEffect: mayHave))
            }
            _ = try await store.claim(request(key(3), issuedAt: early))
            try await store.mark(request(key(9, .delete), issuedAt: late))

            guard case .superseded(let claim) = try await store.claim(request(key(1), issuedAt: early)) else {
                Issue.record("expected superseded")
                return
            }
            #expect(claim.attempts == 1)
            #expect(try await store.claim(request(key(2), issuedAt: early)).acquired?.mayHaveTakenEffect == true)
            #expect(try await store.claim(request(key(3), issuedAt: early)) == .inProgress(.seconds(30)))
            clock.advance(by: .seconds(30))
            guard case .interrupted = try await store.claim(request(key(3), issuedAt: early)) else {
                Issue.record("expected interrupted")
                return
            }
        }
    }

    @Test(arguments: StoreKind.allCases)
    func whatSucceededStaysSoWhateverIsDeletedLater(_ kind: StoreKind) async throws {
        try await kind.withStore { store, _ in
            let claim = try #require(try await store.claim(request(key(1), issuedAt: early)).acquired)
            _ = try await store.record(result(.succeeded), for: claim)
            try await store.mark(request(key(2, .delete), issuedAt: late))
            #expect(
                try await store.claim(request(key(1), issuedAt: early)) == .completed(result(.succeeded), replay: 0))
        }
    }

    // MARK: Retention

    private static let retention = Retention(succeeded: .seconds(1000), failed: .seconds(5000))

    @Test(arguments: StoreKind.allCases)
    func successesGoBeforeFailures(_ kind: StoreKind) async throws {
        try await kind.withStore(retention: Self.retention) { store, clock in
            let results = [result(.succeeded), result(.superseded), result(.rejected), result(.unknown)]
            for (number, result) in results.enumerated() {
                let claim = try #require(try await store.claim(request(key(UInt8(number)))).acquired)
                _ = try await store.record(result, for: claim)
            }
            clock.advance(by: .seconds(999))
            #expect(try await store.purge(limit: 100) == 0)
            clock.advance(by: .seconds(31))
            #expect(try await store.purge(limit: 100) == 2)
            #expect(try await store.claim(request(key(0))).acquired != nil)
            #expect(try await store.claim(request(key(2))) == .completed(result(.rejected), replay: 0))
            clock.advance(by: .seconds(3969))
            #expect(try await store.purge(limit: 100) == 0)
            #expect(try await store.claim(request(key(3))) == .completed(result(.unknown), replay: 0))
            clock.advance(by: .seconds(1))
            #expect(try await store.purge(limit: 100) == 2)
            #expect(try await store.claim(request(key(3))).acquired != nil)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func anUnreleasedClaimIsKeptLongAfterItsLease(_ kind: StoreKind) async throws {
        try await kind.withStore(retention: Self.retention) { store, clock in
            _ = try await store.claim(request(key(1)))
            for _ in 0..<5 {
                clock.advance(by: .seconds(1005))
                #expect(try await store.purge(limit: 100) == 0)
            }
            guard case .interrupted(let claim) = try await store.claim(request(key(1))) else {
                Issue.record("expected interrupted")
                return
            }
            clock.advance(by: .seconds(5029))
            #expect(try await store.purge(limit: 100) == 0)
            #expect(try await store.release(claim, as: .forRetry(attempts: 1, mayHaveTakenEffect: true)) == .held)
            clock.advance(by: .seconds(4999))
            #expect(try await store.purge(limit: 100) == 0)
            clock.advance(by: .seconds(1))
            #expect(try await store.purge(limit: 100) == 1)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func marksGoWithTheRoutesThatTheyCouldMeet(_ kind: StoreKind) async throws {
        try await kind.withStore(retention: Self.retention) { store, clock in
            try await store.mark(request(key(1, .delete), issuedAt: late))
            clock.advance(by: .seconds(999))
            #expect(try await store.purge(limit: 100) == 0)
            clock.advance(by: .seconds(1))
            #expect(try await store.purge(limit: 100) == 1)
            #expect(try await store.claim(request(key(2), issuedAt: early)).acquired != nil)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func aPurgeStopsAtItsLimit(_ kind: StoreKind) async throws {
        try await kind.withStore(retention: Self.retention) { store, clock in
            for number in UInt8(0)..<250 {
                let claim = try #require(try await store.claim(request(key(number))).acquired)
                _ = try await store.record(result(number < 100 ? .rejected : .succeeded), for: claim)
            }
            for number in UInt8(0)..<250 {
                try await store.mark(request(key(number, .delete), conversation: "c\(number)", issuedAt: late))
            }
            clock.advance(by: .seconds(1030))
            #expect(try await store.purge(limit: 0) == 0)
            #expect(try await store.purge(limit: 7) == 7)
            #expect(try await store.purge(limit: 1000) == 393)
            #expect(try await store.purge(limit: 1000) == 0)
            clock.advance(by: .seconds(4000))
            #expect(try await store.purge(limit: 1000) == 100)
        }
    }
}
