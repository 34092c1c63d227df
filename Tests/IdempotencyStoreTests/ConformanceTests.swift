// What every store promises, one test per state and transition.

import IdempotencyStore
import RoutingContract
import Testing

@Suite struct ConformanceTests {
    // MARK: Claiming

    @Test(arguments: StoreKind.allCases)
    func aFirstClaimIsAcquiredAndASecondSeesItInProgress(_ kind: StoreKind) async throws {
        try await kind.withStore { store, clock in
            let claim = try #require(try await store.claim(request(key(1))).acquired)
            #expect(claim.key == key(1))
            #expect(claim.attempts == 0)
            #expect(!claim.mayHaveTakenEffect)
            clock.advance(by: .seconds(10))
            #expect(try await store.claim(request(key(1))) == .inProgress(.seconds(20)))
        }
    }

    @Test(arguments: StoreKind.allCases)
    func orgKindAndRequestMakeTheKey(_ kind: StoreKind) async throws {
        try await kind.withStore { store, _ async throws in
            let otherOrg = CommandKey(
                org: OrgID("00D000000000002")!, kind: .route, request: key(1).request)
            for key in [key(1), key(2), key(1, .delete), otherOrg] {
                #expect(try await store.claim(request(key)).acquired != nil)
            }
        }
    }

    @Test(arguments: StoreKind.allCases)
    func amongSixtyFourRacersOneAcquires(_ kind: StoreKind) async throws {
        try await kind.withStore { store, _ in
            for round in UInt8(0)..<10 {
                let results = try await withThrowingTaskGroup(of: ClaimResult.self) { group in
                    for _ in 0..<64 { group.addTask { try await store.claim(request(key(round))) } }
                    return try await group.reduce(into: [ClaimResult]()) { $0.append($1) }
                }
                #expect(results.count { $0.acquired != nil } == 1)
                #expect(results.count { $0 == .inProgress(.seconds(30)) } == 63)
            }
        }
    }

    @Test(arguments: StoreKind.allCases)
    func anotherMeaningIsAConflictInEveryState(_ kind: StoreKind) async throws {
        try await kind.withStore { store, clock in
            let first = try #require(try await store.claim(request(key(1))).acquired)
            #expect(try await store.claim(request(key(1), meaning: 9)) == .conflict)
            _ = try await store.release(first, as: .forRetry(attempts: 1, mayHaveTakenEffect: false))
            #expect(try await store.claim(request(key(1), meaning: 9)) == .conflict)
            let second = try #require(try await store.claim(request(key(1))).acquired)
            clock.advance(by: .seconds(31))
            #expect(try await store.claim(request(key(1), meaning: 9)) == .conflict)
            #expect(try await store.record(result(.rejected), for: second) == .lost)
            let third = try #require(try await store.claim(request(key(1))).claim)
            #expect(try await store.record(result(.rejected), for: third) == .held)
            #expect(try await store.claim(request(key(1), meaning: 9, replay: 1)) == .conflict)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func whatWasNotCalledForYetIsBoundToNoMeaning(_ kind: StoreKind) async throws {
        try await kind.withStore { store, _ in
            let first = try #require(try await store.claim(request(key(1))).acquired)
            #expect(try await store.claim(request(key(1), meaning: 9)) == .conflict)
            _ = try await store.release(first, as: .forRetry(attempts: 0, mayHaveTakenEffect: false))
            let second = try #require(try await store.claim(request(key(1), meaning: 9)).acquired)
            #expect(try await store.claim(request(key(1))) == .conflict)
            #expect(try await store.record(result(.succeeded), for: second) == .held)
            #expect(try await store.claim(request(key(1), meaning: 9)) == .completed(result(.succeeded), replay: 0))
            #expect(try await store.claim(request(key(1))) == .conflict)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func aCommandThatWasReopenedStaysBoundToItsMeaning(_ kind: StoreKind) async throws {
        try await kind.withStore { store, _ in
            let first = try #require(try await store.claim(request(key(1))).acquired)
            #expect(try await store.record(result(.rejected), for: first) == .held)
            let second = try #require(try await store.claim(request(key(1), replay: 1)).acquired)
            _ = try await store.release(second, as: .forRetry(attempts: 0, mayHaveTakenEffect: false))
            #expect(try await store.claim(request(key(1), meaning: 9, replay: 1)) == .conflict)
        }
    }

    // MARK: Leases and fencing

    @Test(arguments: StoreKind.allCases)
    func aLeaseThatRanOutIsInterruptedAndItsHolderIsFencedOff(_ kind: StoreKind) async throws {
        try await kind.withStore { store, clock in
            let first = try #require(try await store.claim(request(key(1))).acquired)
            clock.advance(by: .milliseconds(29_999))
            #expect(try await store.claim(request(key(1))) == .inProgress(.milliseconds(1)))
            clock.advance(by: .milliseconds(1))
            guard case .interrupted(let second) = try await store.claim(request(key(1))) else {
                Issue.record("expected interrupted")
                return
            }
            #expect(second.token > first.token)
            #expect(second.mayHaveTakenEffect)
            #expect(try await store.record(result(.succeeded), for: first) == .lost)
            #expect(try await store.release(first, as: .unbound) == .lost)
            #expect(try await store.claim(request(key(1))) == .inProgress(.seconds(30)))
            #expect(try await store.record(result(.unknown), for: second) == .held)
            #expect(try await store.claim(request(key(1))) == .completed(result(.unknown), replay: 0))
        }
    }

    @Test(arguments: StoreKind.allCases)
    func aHolderWhoseLeaseRanOutRecordsOnlyUnderItsClaimGivenAnew(_ kind: StoreKind) async throws {
        try await kind.withStore { store, clock in
            let wish = request(key(1), nonce: 7)
            let claim = try #require(try await store.claim(wish).acquired)
            clock.advance(by: .seconds(30))
            #expect(try await store.record(result(.succeeded), for: claim) == .lost)
            let again = try #require(try await store.claim(wish).acquired)
            #expect(again.token > claim.token && !again.mayHaveTakenEffect)
            #expect(try await store.record(result(.succeeded), for: claim) == .lost)
            #expect(try await store.record(result(.succeeded), for: again) == .held)
            clock.advance(by: .seconds(60))
            #expect(try await store.record(result(.succeeded), for: again) == .held)
            #expect(try await store.claim(request(key(1))) == .completed(result(.succeeded), replay: 0))
        }
    }

    @Test(arguments: StoreKind.allCases)
    func aHolderWhoseLeaseRanOutGetsNothingAnewOnceSomebodyTookOver(_ kind: StoreKind) async throws {
        try await kind.withStore { store, clock in
            let wish = request(key(1), nonce: 7)
            let claim = try #require(try await store.claim(wish).acquired)
            clock.advance(by: .seconds(30))
            let newer = try #require(try await store.claim(request(key(1), nonce: 8)).claim)
            #expect(try await store.record(result(.succeeded), for: claim) == .lost)
            #expect(try await store.claim(wish) == .inProgress(.seconds(30)))
            #expect(try await store.record(result(.unknown), for: newer) == .held)
            #expect(try await store.claim(wish) == .completed(result(.unknown), replay: 0))
        }
    }

    @Test(arguments: StoreKind.allCases)
    func callsMadeUnderALostLeaseAreRememberedWithTheNextClaim(_ kind: StoreKind) async throws {
        try await kind.withStore { store, clock in
            _ = try await store.claim(request(key(1), nonce: 7))
            clock.advance(by: .seconds(30))
            let made = CallsMade(attempts: 2, mayHaveTakenEffect: true)
            let again = try #require(try await store.claim(request(key(1), nonce: 7, callsMade: made)).acquired)
            #expect(again.attempts == 2 && again.mayHaveTakenEffect)
            // As the batching store gives back a claim whose asker gave up waiting.
            let release = Release.forRetry(attempts: again.attempts, mayHaveTakenEffect: again.mayHaveTakenEffect)
            #expect(try await store.release(again, as: release) == .held)
            #expect(try await store.claim(request(key(1), nonce: 8)).acquired?.mayHaveTakenEffect == true)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func tokensGrowThroughReleaseForgettingAndReopening(_ kind: StoreKind) async throws {
        try await kind.withStore(retention: Retention(succeeded: .seconds(60), failed: .seconds(60))) { store, clock in
            var last: Int64 = 0
            func claim(_ request: ClaimRequest) async throws -> Claim {
                let claim = try #require(try await store.claim(request).claim)
                #expect(claim.token > last)
                last = claim.token
                return claim
            }
            _ = try await store.release(try await claim(request(key(1))), as: .unbound)
            _ = try await store.release(
                try await claim(request(key(1))), as: .forRetry(attempts: 1, mayHaveTakenEffect: false))
            _ = try await store.record(result(.rejected), for: try await claim(request(key(1))))
            _ = try await store.record(result(.succeeded), for: try await claim(request(key(1), replay: 1)))
            clock.advance(by: .seconds(1000))
            #expect(try await store.purge(limit: 10) == 1)
            _ = try await claim(request(key(1)))
        }
    }

    @Test(arguments: StoreKind.allCases)
    func theSameNonceAsksForItsOwnClaimAgain(_ kind: StoreKind) async throws {
        try await kind.withStore { store, clock in
            let lost = try #require(try await store.claim(request(key(1), nonce: 7)).acquired)
            clock.advance(by: .seconds(5))
            #expect(try await store.claim(request(key(1), nonce: 8)) == .inProgress(.seconds(25)))
            #expect(try await store.claim(request(key(1))) == .inProgress(.seconds(25)))
            let claim = try #require(try await store.claim(request(key(1), nonce: 7)).acquired)
            #expect(claim.token > lost.token)
            #expect(!claim.mayHaveTakenEffect)
            #expect(try await store.release(lost, as: .unbound) == .lost)
            #expect(try await store.claim(request(key(1), nonce: 8)) == .inProgress(.seconds(30)))
            #expect(try await store.record(result(.succeeded), for: claim) == .held)
            #expect(try await store.claim(request(key(1), nonce: 7)) == .completed(result(.succeeded), replay: 0))
        }
    }

    // MARK: Recording

    @Test(arguments: StoreKind.allCases)
    func aRecordedResultComesBackWhole(_ kind: StoreKind) async throws {
        try await kind.withStore { store, _ in
            var recorded = result(.rejected, attempts: 3, reason: "queue-invalid")
            recorded.response = APIResponse([0, 255, 10])
            recorded.worker = "wörker"
            let claim = try #require(try await store.claim(request(key(1))).acquired)
            #expect(try await store.record(recorded, for: claim) == .held)
            #expect(try await store.claim(request(key(1))) == .completed(recorded, replay: 0))
        }
    }

    @Test(arguments: StoreKind.allCases)
    func theFirstResultUnderAClaimStays(_ kind: StoreKind) async throws {
        try await kind.withStore { store, _ in
            let claim = try #require(try await store.claim(request(key(1))).acquired)
            #expect(try await store.record(result(.succeeded), for: claim) == .held)
            #expect(try await store.record(result(.unknown), for: claim) == .held)
            #expect(try await store.release(claim, as: .unbound) == .lost)
            #expect(try await store.claim(request(key(1))) == .completed(result(.succeeded), replay: 0))
        }
    }

    @Test(arguments: StoreKind.allCases)
    func nothingIsRecordedForACommandNeverSeen(_ kind: StoreKind) async throws {
        try await kind.withStore { store, _ async throws in
            let claim = Claim(key: key(1), token: 1)
            #expect(try await store.record(result(.succeeded), for: claim) == .lost)
            #expect(try await store.release(claim, as: .unbound) == .lost)
            #expect(try await store.claim(request(key(1))).acquired != nil)
        }
    }

    // MARK: Releasing

    @Test(arguments: StoreKind.allCases)
    func aReleasedClaimIsNotInterruptedAndRemembersItsAttempts(_ kind: StoreKind) async throws {
        try await kind.withStore { store, clock in
            let first = try #require(try await store.claim(request(key(1))).acquired)
            let release = Release.forRetry(attempts: 2, mayHaveTakenEffect: false)
            #expect(try await store.release(first, as: release) == .held)
            #expect(try await store.release(first, as: release) == .held)
            #expect(try await store.record(result(.succeeded), for: first) == .lost)
            clock.advance(by: .seconds(3600))
            let second = try #require(try await store.claim(request(key(1))).acquired)
            #expect(second.attempts == 2)
            #expect(!second.mayHaveTakenEffect)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func aPossibleEffectIsNeverForgotten(_ kind: StoreKind) async throws {
        try await kind.withStore { store, _ in
            var claim = try #require(try await store.claim(request(key(1))).acquired)
            _ = try await store.release(claim, as: .forRetry(attempts: 1, mayHaveTakenEffect: true))
            claim = try #require(try await store.claim(request(key(1))).acquired)
            #expect(claim.mayHaveTakenEffect)
            _ = try await store.release(claim, as: .forRetry(attempts: 1, mayHaveTakenEffect: false))
            claim = try #require(try await store.claim(request(key(1))).acquired)
            #expect(claim.mayHaveTakenEffect)
            #expect(claim.attempts == 1)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func unbindingFreesTheRequestIdOnlyIfNothingWasAttempted(_ kind: StoreKind) async throws {
        try await kind.withStore { store, clock in
            var claim = try #require(try await store.claim(request(key(1))).acquired)
            #expect(try await store.release(claim, as: .unbound) == .held)
            claim = try #require(try await store.claim(request(key(1), meaning: 9)).acquired)
            _ = try await store.release(claim, as: .forRetry(attempts: 1, mayHaveTakenEffect: false))
            claim = try #require(try await store.claim(request(key(1), meaning: 9)).acquired)
            #expect(try await store.release(claim, as: .unbound) == .held)
            #expect(try await store.claim(request(key(1))) == .conflict)
            #expect(try await store.claim(request(key(1), meaning: 9)).acquired?.attempts == 1)

            _ = try await store.claim(request(key(2)))
            clock.advance(by: .seconds(30))
            claim = try #require(try await store.claim(request(key(2))).claim)
            #expect(try await store.release(claim, as: .unbound) == .held)
            #expect(try await store.claim(request(key(2))).acquired?.mayHaveTakenEffect == true)
        }
    }

    // MARK: Reopening

    @Test(arguments: StoreKind.allCases, [Outcome.rejected, .exhausted])
    func aReplayReopensAFailureOnce(_ kind: StoreKind, _ outcome: Outcome) async throws {
        try await kind.withStore { store, _ in
            let first = try #require(try await store.claim(request(key(1))).acquired)
            _ = try await store.record(result(outcome, attempts: 5), for: first)
            #expect(try await store.claim(request(key(1))) == .completed(result(outcome, attempts: 5), replay: 0))
            let second = try #require(try await store.claim(request(key(1), replay: 1)).acquired)
            #expect(second.attempts == 0)
            #expect(!second.mayHaveTakenEffect)
            #expect(try await store.claim(request(key(1), replay: 1)) == .inProgress(.seconds(30)))
            _ = try await store.record(result(outcome), for: second)
            for replay in 0...1 {
                #expect(
                    try await store.claim(request(key(1), replay: replay)) == .completed(result(outcome), replay: 1))
            }
            #expect(try await store.claim(request(key(1), replay: 2)).acquired != nil)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func unknownReopensOnlyWhereASecondEffectIsAccepted(_ kind: StoreKind) async throws {
        try await kind.withStore { store, _ in
            let first = try #require(try await store.claim(request(key(1))).acquired)
            _ = try await store.record(result(.unknown), for: first)
            #expect(try await store.claim(request(key(1), replay: 1)) == .completed(result(.unknown), replay: 0))
            let accepting = request(key(1), replay: 1, acceptsSecondEffect: true)
            let second = try #require(try await store.claim(accepting).acquired)
            #expect(second.mayHaveTakenEffect)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func whatHasNoDeadLetterIsNeverReopened(_ kind: StoreKind) async throws {
        try await kind.withStore { store, _ in
            let final = [
                result(.succeeded), result(.superseded), result(.rejected, reason: CommandResult.nothingCleared),
            ]
            for (number, result) in final.enumerated() {
                let key = key(UInt8(number))
                let claim = try #require(try await store.claim(request(key)).acquired)
                _ = try await store.record(result, for: claim)
                let replay = request(key, replay: 9, acceptsSecondEffect: true)
                #expect(try await store.claim(replay) == .completed(result, replay: 0))
            }
        }
    }

    @Test(arguments: StoreKind.allCases)
    func aReopenedCommandThatMadeNoCallEndsAsBefore(_ kind: StoreKind) async throws {
        try await kind.withStore { store, _ in
            let first = try #require(try await store.claim(request(key(1))).acquired)
            _ = try await store.record(result(.rejected, attempts: 4), for: first)
            let second = try #require(try await store.claim(request(key(1), replay: 1)).acquired)
            #expect(try await store.release(second, as: .unbound) == .held)
            #expect(try await store.claim(request(key(1))) == .completed(result(.rejected, attempts: 4), replay: 0))
            #expect(try await store.claim(request(key(1), replay: 1)).acquired?.attempts == 0)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func anInterruptedReplayKeepsItsReplayCount(_ kind: StoreKind) async throws {
        try await kind.withStore { store, clock in
            let first = try #require(try await store.claim(request(key(1))).acquired)
            _ = try await store.record(result(.rejected), for: first)
            _ = try await store.claim(request(key(1), replay: 1))
            clock.advance(by: .seconds(30))
            // An older copy of the command takes over: what it records counts for the replay.
            let third = try #require(try await store.claim(request(key(1))).claim)
            _ = try await store.record(result(.exhausted), for: third)
            #expect(try await store.claim(request(key(1), replay: 1)) == .completed(result(.exhausted), replay: 1))
        }
    }

    // MARK: Closing

    @Test(arguments: StoreKind.allCases)
    func aClosedStoreSaysSo(_ kind: StoreKind) async throws {
        try await kind.withStore { store, _ in
            let claim = try #require(try await store.claim(request(key(1))).acquired)
            await store.close()
            await store.close()
            await #expect(throws: StoreError.closed) { try await store.claim(request(key(2))) }
            await #expect(throws: StoreError.closed) { try await store.record(result(.succeeded), for: claim) }
            await #expect(throws: StoreError.closed) { try await store.release(claim, as: .unbound) }
            await #expect(throws: StoreError.closed) { try await store.mark(request(key(2, .delete))) }
            await #expect(throws: StoreError.closed) { try await store.purge(limit: 1) }
        }
    }
}
