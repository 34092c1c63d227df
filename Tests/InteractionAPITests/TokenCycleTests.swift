// When a token is used and when a new one is asked for: the machine alone, and the actor with clocks that stand still.

import Foundation
import NIOCore
import NIOPosix
import RoutingContract
import Testing

@testable import InteractionAPI

private let first = AccessToken("first")!
private let second = AccessToken("second")!

/// A JWT as an access token: nobody verifies its signature here.
private func jwt(_ claims: String) -> String {
    func part(_ text: String) -> String {
        String(
            Data(text.utf8).base64EncodedString().compactMap {
                $0 == "+" ? "-" : $0 == "/" ? "_" : $0 == "=" ? nil : $0
            })
    }
    return part(#"{"alg":"RS256"}"#) + "." + part(claims) + ".c2ln"
}

@Suite(.timeLimit(.minutes(2))) struct TokenCycleTests {
    private var generator = SeededGenerator(seed: 7)

    @Test mutating func aTokenOfUnknownLifetimeIsUsedUntilItIsRefused() {
        var cycle = TokenCycle(policy: TokenRefreshPolicy())
        #expect(cycle.asked(now: .zero) == .refresh)
        cycle.refreshStarted(now: .zero)
        #expect(cycle.asked(now: .zero) == .refresh)
        cycle.succeeded(first, lifetime: nil, now: .seconds(1), using: &generator)
        #expect(cycle.asked(now: .seconds(1_000_000)) == .token(first, thenRefresh: false))
        #expect(cycle.refused(first, now: .seconds(1_000_000)) == .refresh)
        // Somebody else's refusal of a token that was replaced meanwhile.
        cycle.refreshStarted(now: .seconds(1_000_000))
        cycle.succeeded(second, lifetime: nil, now: .seconds(1_000_001), using: &generator)
        #expect(cycle.refused(first, now: .seconds(1_000_002)) == .token(second, thenRefresh: false))
        // Refused right after it was issued: it takes a while until another one can be asked for.
        guard case .failure(let failure) = cycle.refused(second, now: .seconds(1_000_002)) else {
            Issue.record("no failure")
            return
        }
        #expect(failure.retryAfter == .seconds(8))
        #expect(cycle.refused(second, now: .seconds(1_000_010)) == .refresh)
    }

    @Test mutating func aKnownLifetimeIsNotUsedUp() {
        for _ in 0..<100 {
            var cycle = TokenCycle(policy: TokenRefreshPolicy())
            cycle.refreshStarted(now: .zero)
            cycle.succeeded(first, lifetime: .seconds(1000), now: .zero, using: &generator)
            #expect(cycle.asked(now: .seconds(749)) == .token(first, thenRefresh: false))
            #expect(cycle.asked(now: .seconds(901)) == .token(first, thenRefresh: true))
            #expect(cycle.asked(now: .seconds(990)) == .refresh)
            // The endpoint is down: the old one is used as long as it can be, and beyond.
            cycle.refreshStarted(now: .seconds(901))
            #expect(cycle.asked(now: .seconds(902)) == .token(first, thenRefresh: false))
            let down = TokenTrouble(failure: TokenFailure("down"), isRefusal: false)
            cycle.failed(down, now: .seconds(989), using: &generator)
            #expect(cycle.asked(now: .seconds(989)) == .token(first, thenRefresh: false))
            #expect(cycle.asked(now: .milliseconds(989_400)) == .token(first, thenRefresh: false))
            #expect(cycle.asked(now: .seconds(991)) == .refresh)
        }
    }

    @Test mutating func pausesGrowAndAreBounded() {
        var cycle = TokenCycle(policy: TokenRefreshPolicy())
        var now = Duration.zero
        var pauses: [Duration] = []
        for failures in 1...12 {
            cycle.refreshStarted(now: now)
            let trouble = TokenTrouble(failure: TokenFailure("down"), isRefusal: false)
            cycle.failed(trouble, now: now, using: &generator)
            let start = now
            while case .failure = cycle.asked(now: now) { now += .milliseconds(10) }
            let ceiling = min(Double(1 << (failures - 1)), 60)
            pauses.append(now - start)
            #expect(now - start >= .seconds(ceiling / 2) && now - start <= .seconds(ceiling) + .milliseconds(10))
        }
        #expect(Set(pauses.suffix(5)).count > 1, "no jitter: \(pauses)")
        // What the endpoint asks for counts where it is longer; a refusal waits the minimum at least.
        cycle.succeeded(first, lifetime: nil, now: now, using: &generator)
        #expect(cycle.refused(first, now: now + .seconds(60)) == .refresh)
        let busy = TokenTrouble(failure: TokenFailure("busy"), isRefusal: false, retryAfter: .seconds(100))
        cycle.failed(busy, now: now, using: &generator)
        guard case .failure = cycle.asked(now: now + .seconds(99)) else { Issue.record("too early"); return }
        #expect(cycle.asked(now: now + .seconds(100)) == .refresh)
    }

    @Test mutating func aRefusedKeyIsTriedAgainAtOnceWhereItMayBeMended() {
        var cycle = TokenCycle(policy: TokenRefreshPolicy())
        cycle.refreshStarted(now: .zero)
        cycle.failed(
            TokenTrouble(failure: TokenFailure("no"), isRefusal: true), now: .zero, using: &generator)
        guard case .failure(let failure) = cycle.asked(now: .seconds(1)) else {
            Issue.record("no failure")
            return
        }
        #expect(failure.retryAfter == nil)
        cycle.mayBeMended(now: .seconds(1))
        #expect(cycle.asked(now: .seconds(1)) == .refresh)
    }

    /// Whatever happens, requests that were answered stand at least the minimum apart.
    @Test(arguments: [UInt64.random(in: .min ... .max), 1, 2, 3])
    func theRateIsBounded(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var cycle = TokenCycle(policy: TokenRefreshPolicy())
        var now = Duration.zero
        var lastAnswered: Duration?
        var issued = 0
        var current = first
        for _ in 0..<5000 {
            now += .milliseconds(Int.random(in: 0...3000, using: &generator))
            let answer =
                Bool.random(using: &generator) ? cycle.asked(now: now) : cycle.refused(current, now: now)
            switch answer {
            case .refresh, .token(_, thenRefresh: true):
                if let lastAnswered {
                    #expect(now - lastAnswered >= .seconds(10), "seed \(seed)")
                }
                cycle.refreshStarted(now: now)
                if Bool.random(using: &generator) {
                    lastAnswered = now
                    issued += 1
                    current = AccessToken("token-\(issued)")!
                    let lifetime: Duration? = Bool.random(using: &generator) ? .seconds(30) : nil
                    cycle.succeeded(current, lifetime: lifetime, now: now, using: &generator)
                } else {
                    let isRefusal = Bool.random(using: &generator)
                    lastAnswered = isRefusal ? now : nil
                    let trouble = TokenTrouble(failure: TokenFailure("no"), isRefusal: isRefusal)
                    cycle.failed(trouble, now: now, using: &generator)
                }
            case .token(_, thenRefresh: false), .failure:
                break
            }
        }
        #expect(issued > 100, "seed \(seed)")
    }

    // MARK: The actor

    /// Fetches one that says of itself that it lasts for 1000 seconds.
    private func firstToken(_ tokens: OAuthTokens, _ server: ScriptedServer) async -> String {
        let now = Int(Date().timeIntervalSince1970)
        let token = jwt(#"{"iat":\#(now - 5000),"exp":\#(now - 4000),"sub":"x"}"#)
        async let got = tokens.get().token
        await server.answerToken("200 OK", grant(token))
        #expect(await got?.authorization == "Bearer " + token)
        return token
    }

    @Test func theSuccessorIsFetchedWhileTheOldOneIsUsed() async throws {
        let server = try await ScriptedServer()
        let clocks = TestClocks()
        try await withTokens(server.tokenURL, clocks: clocks) { tokens in
            let old = await firstToken(tokens, server)
            clocks.advance(.seconds(600))
            #expect(await tokens.get().token?.authorization == "Bearer " + old)
            #expect(server.acceptedCount == 1)
            clocks.advance(.seconds(310))
            // At once, and without waiting for the request that it starts.
            #expect(await tokens.get().token?.authorization == "Bearer " + old)
            let peer = await server.accept()
            _ = await peer.readRequest()
            #expect(await tokens.get().token?.authorization == "Bearer " + old)
            // At its end it is no longer given out: the successor is waited for.
            clocks.advance(.seconds(100))
            async let successor = tokens.get().token
            peer.answer("200 OK", grant("00D000000000001!new"))
            #expect(await successor?.authorization == "Bearer 00D000000000001!new")
            #expect(server.acceptedCount == 2)
        }
        try await server.stop()
    }

    /// The server knows better whether the old one has ended.
    @Test func whoWaitedForASuccessorInVainTriesTheOldOne() async throws {
        let server = try await ScriptedServer()
        let clocks = TestClocks()
        try await withTokens(server.tokenURL, clocks: clocks) { tokens in
            let old = await firstToken(tokens, server)
            clocks.advance(.seconds(995))
            async let late = tokens.get()
            await server.answerToken("503 Service Unavailable", "")
            let result = await late
            #expect(result.token?.authorization == "Bearer " + old, "\(result.complaint)")
            // One that was refused is not tried again.
            let refused = try #require(AccessToken(old))
            clocks.advance(.seconds(100))
            async let other = tokens.token(for: oauthOrg, insteadOf: refused, timeout: .seconds(60))
            await server.answerToken("503 Service Unavailable", "")
            #expect(await other?.complaint.contains("not available") == true)
        }
        try await server.stop()
    }

    @Test func everybodyWaitsForOneRequestAndNobodyLongerThanAllowed() async throws {
        let server = try await ScriptedServer()
        try await withTokens(server.tokenURL) { tokens in
            async let impatient = tokens.get(timeout: .milliseconds(50))
            let peer = await server.accept()
            _ = await peer.readRequest()
            #expect(await impatient.complaint.contains("did not answer in time"))
            // The next call may have more time: nothing is wrong with the org.
            guard case .failure(let failure) = await impatient else { return }
            #expect(failure.retryAfter == .zero)
            let cancelled = Task { await tokens.get() }
            cancelled.cancel()
            #expect(await cancelled.value.complaint.contains("cancelled"))
            await withTaskGroup { group in
                for _ in 0..<50 { group.addTask { await tokens.get().token } }
                group.addTask {
                    peer.answer("200 OK", grant())
                    return await tokens.get().token
                }
                for await token in group { #expect(token != nil) }
            }
            #expect(server.acceptedCount == 1)
        }
        try await server.stop()
    }

    @Test func anOrgInTroubleHoldsUpNoOther() async throws {
        let stuck = try await ScriptedServer()
        let server = try await ScriptedServer()
        let other = OrgID("00D000000000002")!
        try await withTokens(
            stuck.tokenURL,
            change: { settings in
                settings.orgs[other] = settings.orgs[oauthOrg]
                settings.orgs[other]?.tokenURL = server.tokenURL
            }
        ) { tokens in
            async let waiting = tokens.get()
            let peer = await stuck.accept()
            async let token = tokens.get(other).token
            await server.answerToken("200 OK", grant("00D000000000002!x", org: "00D000000000002"))
            #expect(await token != nil)
            peer.answer("200 OK", grant())
            #expect(await waiting.token != nil)
            #expect(await tokens.get(OrgID("00D000000000003")!).complaint.contains("no credentials"))
        }
        try await server.stop()
        try await stuck.stop()
    }

    @Test func thoseWhoWaitAreToldOfTheEnd() async throws {
        let server = try await ScriptedServer()
        try await withTokens(server.tokenURL) { tokens in
            async let result = tokens.get()
            _ = await server.accept()
            await tokens.shutDown()
            #expect(await result.complaint.contains("the worker ends"))
            #expect(await tokens.get().token == nil)
        }
        try await server.stop()
    }
}
