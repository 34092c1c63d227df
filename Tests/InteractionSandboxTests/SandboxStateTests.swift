// The pure rooms: state, book, ledger, fault rules, without HTTP and with a clock of their own.

import Foundation
import RoutingContract
import Testing

@testable import InteractionSandbox

private let start = Timestamp(milliseconds: 1_700_000_000_000)
private let org = OrgID("00DSB0000000001")!

private func parsed(
    _ method: IncomingRequest.Method = .post, conversation: String = "c", request: String = UUID().uuidString
) -> ParsedRequest {
    ParsedRequest(
        IncomingRequest(
            method: method, authorization: "Bearer t", org: org.description, context: "Partner1_Channel1",
            request: request, contentType: "application/json",
            body: Array(#"{"conversationIdentifier":"\#(conversation)","routingType":"Initial"}"#.utf8)),
        maximumAttributeCharacters: 255)
}

@Suite struct SandboxStateTests {
    @Test func repsAcceptAfterAWhile() throws {
        var settings = SandboxSettings()
        settings.acceptedAfter = .seconds(10)
        var state = try SandboxState(settings: settings, now: start)
        _ = state.decide(parsed(), now: start)
        _ = state.decide(parsed(), now: start + .seconds(5))
        #expect(state.summary(now: start + .seconds(9)).routings.waiting == 2)
        let summary = state.summary(now: start + .seconds(12)).routings
        #expect(summary.waiting == 1 && summary.accepted == 1)
        #expect(state.decide(parsed(.delete), now: start + .seconds(13)).effect == .cleared(1))
        #expect(state.decide(parsed(.delete), now: start + .seconds(14)).effect == .none)
        let ended = state.book.list(conversation: "c", org: org, state: nil, limit: 10, now: start + .seconds(60))
        #expect(ended.map(\.state) == [.accepted, .cleared])
        #expect(ended.first?.endedAt == (start + .seconds(10)).rfc3339)
    }

    @Test func limitsTheRate() throws {
        var settings = SandboxSettings()
        settings.rateLimit = 2
        var state = try SandboxState(settings: settings, now: start)
        let statuses = [0, 1, 2, 999, 1000].map { offset in
            state.decide(parsed(), now: start + .milliseconds(offset)).reply?.status
        }
        #expect(statuses == [202, 202, 429, 429, 202])
    }

    @Test func aLateEffectIsWrittenWhenItComes() throws {
        var state = try SandboxState(settings: SandboxSettings(), now: start)
        _ = try state.faults.add(
            Fault(.reset, next: 1, latency: .milliseconds(50) ... .milliseconds(50), effect: .late))
        let request = parsed()
        let decision = state.decide(request, now: start)
        #expect(decision.isLate && decision.latency == .milliseconds(50) && decision.reply == nil)
        #expect(state.ledger.entries(LedgerFilter()).map(\.effect) == [.none])
        let done = state.carryOut(request, decision, now: start + .milliseconds(50))
        #expect(done.effect == .created(1) && done.reply == nil)
        #expect(state.ledger.entries(LedgerFilter()).map(\.effect) == [.created])
        #expect(state.ledger.effects(of: request.incoming.request ?? "").created == 1)
        #expect(state.summary(now: start).totals.created == 1)
    }

    @Test func probabilityHolds() throws {
        var settings = SandboxSettings()
        settings.faults = [try Fault(shorthand: "503@2%")]
        var state = try SandboxState(settings: settings, now: start)
        let failed = (0..<10_000).count { _ in state.decide(parsed(), now: start).reply?.status == 503 }
        // Seed 1 decides: always the same number, within five standard deviations (14) of 200.
        #expect((130...270).contains(failed))
        #expect(state.faults.rules.first?.hits == failed)
        #expect(state.summary(now: start).totals.created == 10_000 - failed)
    }

    @Test func memoryIsBounded() throws {
        var settings = SandboxSettings()
        settings.ledgerLimit = 3
        settings.headersLimit = 1
        settings.routingsLimit = 2
        var state = try SandboxState(settings: settings, now: start)
        let first = UUID().uuidString
        for request in [first, first] + (0..<3).map({ _ in UUID().uuidString }) {
            var request = parsed(request: request)
            request.incoming.headerLines = "A: b\nA: c\n"
            _ = state.decide(request, now: start)
        }
        #expect(state.ledger.entries(LedgerFilter()).map(\.sequence) == [3, 4, 5])
        #expect(state.ledger.entries(LedgerFilter()).map(\.headers) == [nil, nil, ["A": "b, c"]])
        #expect(state.ledger.effects(of: first).requests == 0)
        #expect(state.ledger.requestIDCount == 3)
        #expect(state.summary(now: start).totals.requests == 5)
        #expect(state.summary(now: start).routings.waiting == 2)
        #expect(state.decide(parsed(.delete), now: start).effect == .cleared(2))
        state.book.reset()
        #expect(state.decide(parsed(), now: start).effect == .created(6))
    }
}

@Suite struct FaultRuleTests {
    @Test func theFirstThatFitsMeets() throws {
        var rules = FaultRules()
        var generator = SeededGenerator(seed: 1)
        var never = Fault(.reset)
        never.probability = 0
        _ = try rules.add(never)
        _ = try rules.add(Fault(.hang, next: 1))
        _ = try rules.add(Fault(.close))
        let met = (0..<3).map { _ in rules.select(FaultRules.Facts(), using: &generator)?.action }
        #expect(met == [.hang, .close, .close])
        #expect(rules.rules.map(\.hits) == [0, 1, 2])
        #expect(rules.select(FaultRules.Facts(endpoint: .token), using: &generator) == nil)
    }

    @Test func aFullListDropsSpentRulesOnly() throws {
        var rules = FaultRules()
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<FaultRules.maximumRules { _ = try rules.add(Fault(.close, next: 1)) }
        #expect(throws: InvalidFault.self) { try rules.add(Fault(.close)) }
        _ = rules.select(FaultRules.Facts(), using: &generator)
        #expect(try rules.add(Fault(.close)).id == FaultRules.maximumRules + 1)
        #expect(rules.rules.count == FaultRules.maximumRules)
    }

    @Test func shorthandsSayWhatTheyMean() throws {
        var fault = try Fault(shorthand: "503:20004@0.5%")
        #expect(fault.action == .status && fault.status == 503 && fault.code == 20004 && fault.probability == 0.005)
        fault = try Fault(shorthand: "10019@x3")
        #expect(fault.status == nil && fault.code == 10019 && fault.next == 3 && fault.actualEffect == .none)
        fault = try Fault(shorthand: "500-after")
        #expect(fault.status == 500 && fault.actualEffect == .atOnce && fault.next == nil)
        fault = try Fault(shorthand: "latency=50-200@10%")
        #expect(fault.latencyMilliseconds == 50 && fault.latencyMaximumMilliseconds == 200)
        fault = try Fault(shorthand: "cut-body")
        #expect(fault.action == .cutBody && fault.actualEffect == .atOnce)
    }
}

@Suite struct RecordTests {
    @Test func madeIdsAreWellFormedAndDiffer() {
        let made = (1...1000).map { SalesforceID.make(prefix: SalesforceID.pendingServiceRouting, number: $0) }
        #expect(Set(made).count == 1000)
        #expect(made.allSatisfy { SalesforceID.isValid($0, prefix: "0JR") && $0.count == 18 })
    }
}
