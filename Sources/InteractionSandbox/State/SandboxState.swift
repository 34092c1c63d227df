// Everything a sandbox knows, and how a request changes it. Pure: time comes in, chance comes from the seed.

import RoutingContract

/// What to do about a request.
struct Decision: Sendable {
    /// The answer; `nil` where the fault sends none, or its effect is late.
    var reply: Reply?
    var fault: Fault?
    /// To wait before the fault plays out.
    var latency: Duration?
    /// Its number in the ledger.
    var sequence: UInt64 = 0
    var effect = Ledger.Effect.none

    /// Whether ``SandboxState/carryOut(_:_:now:)`` must be called after the latency.
    var isLate: Bool { fault?.actualEffect == .late }
}

struct SandboxState: Sendable {
    private struct Performed {
        var reply: Reply
        var effect = Ledger.Effect.none
    }

    let settings: SandboxSettings
    let startedAt: Timestamp
    private let orgs: OrgBook
    var book: RoutingBook
    private(set) var ledger: Ledger
    var faults = FaultRules()
    var tokens: TokenDesk
    private var generator: SeededGenerator
    private var rate = RateWindow()
    private var totals = SandboxSummary.Totals()

    init(settings: SandboxSettings, now: Timestamp) throws {
        self.settings = settings
        startedAt = now
        orgs = try OrgBook(settings.orgs)
        book = RoutingBook(limit: settings.routingsLimit, acceptedAfter: settings.acceptedAfter)
        ledger = Ledger(limit: settings.ledgerLimit, headersLimit: settings.headersLimit)
        tokens = TokenDesk(settings: settings)
        generator = SeededGenerator(seed: settings.seed)
        for fault in settings.faults { _ = try faults.add(fault) }
    }

    /// Takes a request in: picks its fault, carries it out unless the fault forbids or delays that, and writes it down.
    mutating func decide(_ request: ParsedRequest, now: Timestamp) -> Decision {
        let incoming = request.incoming
        let org = incoming.org.flatMap { OrgID($0) }
        let requestID = incoming.request.map { CompactText($0) }
        let fault = faults.select(
            FaultRules.Facts(
                method: incoming.method.rawValue, org: org, request: requestID?.ignoringCase,
                conversation: request.conversation),
            using: &generator)
        var decision = Decision(fault: fault, latency: fault?.latency(using: &generator))
        let performed =
            fault == nil || fault?.actualEffect == .atOnce ? perform(request, now: now) : nil
        decision.reply = decision.isLate ? nil : Self.reply(performed, fault)
        decision.effect = performed?.effect ?? .none
        let record = Ledger.Record(
            time: now, method: incoming.method, org: org?.description ?? incoming.org, request: requestID,
            conversation: request.conversation.map { CompactText($0) }, bodyBytes: incoming.bodyBytes,
            fault: fault?.id, ending: fault?.ending ?? .answered, status: decision.reply?.status,
            code: decision.reply?.code, effect: decision.effect)
        decision.sequence = ledger.append(record, headers: incoming.headerLines)
        totals.requests += 1
        totals.endings[record.ending, default: 0] += 1
        if fault != nil { totals.faults += 1 }
        count(decision)
        return decision
    }

    /// Carries out a request whose fault delayed its effect.
    mutating func carryOut(_ request: ParsedRequest, _ decision: Decision, now: Timestamp) -> Decision {
        var decision = decision
        let performed = perform(request, now: now)
        decision.reply = Self.reply(performed, decision.fault)
        decision.effect = performed.effect
        ledger.amend(
            decision.sequence, effect: performed.effect, status: decision.reply?.status,
            code: decision.reply?.code)
        count(decision)
        return decision
    }

    private static func reply(_ performed: Performed?, _ fault: Fault?) -> Reply? {
        guard let fault else { return performed?.reply }
        switch fault.action {
        case .status, .notJSON, .emptyBody, .failure: return Reply.replacement(by: fault)
        case .latency, .slowBody, .cutBody: return performed?.reply
        case .reset, .close, .hang: return nil
        }
    }

    private mutating func count(_ decision: Decision) {
        if let status = decision.reply?.status { totals.statuses[status, default: 0] += 1 }
        switch decision.effect {
        case .none: break
        case .created: totals.created += 1
        case .cleared: totals.clearing += 1
        }
    }

    private mutating func perform(_ request: ParsedRequest, now: Timestamp) -> Performed {
        do throws(Refusal) {
            let headers = try request.headers.get()
            let org = try admit(headers, now: now)
            let call = try request.call.get()
            try check(call, org: org)
            switch request.incoming.method {
            case .post:
                let number = book.create(
                    call, org: headers.org, request: CompactText(request.incoming.request ?? ""), now: now)
                return Performed(
                    reply: .routed(
                        number, target: call.target,
                        correlation: RequestID.random(using: &generator).description),
                    effect: .created(number))
            case .delete:
                let cleared = book.clear(call.conversation, org: headers.org, now: now)
                return Performed(reply: .cleared(cleared), effect: cleared > 0 ? .cleared(cleared) : .none)
            }
        } catch {
            return Performed(reply: .refused(error))
        }
    }

    /// Judges token, org and rate.
    private mutating func admit(_ headers: CallHeaders, now: Timestamp) throws(Refusal) -> SandboxOrg? {
        switch tokens.judge(headers.token, org: headers.org, now: now) {
        case .accepted: break
        case .invalid: throw Refusal(10004)
        case .ofAnotherOrg: throw Refusal(10005, "the token was issued for another org")
        case .withoutScope: throw Refusal(10003)
        }
        let org = orgs[headers.org]
        guard org != nil || settings.acceptsAnyOrg else { throw Refusal(10099, "the org is unknown here") }
        if let limit = org?.rateLimit ?? settings.rateLimit, !rate.admit(headers.org, limit: limit, now: now) {
            throw Refusal(ErrorCatalog.rateLimit)
        }
        guard let org else { return nil }
        guard org.hasPermissions else { throw Refusal(10099) }
        guard !org.isReadOnly else { throw Refusal(10019) }
        if let contexts = org.contexts, !contexts.contains(headers.context) {
            let prefix = headers.context.prefix { $0 != "_" } + "_"
            throw contexts.contains { $0.hasPrefix(prefix) } ? Refusal(10026, headers.context) : Refusal(10005)
        }
        return org
    }

    /// Judges what only some orgs can do.
    private func check(_ call: RouteCall, org: SandboxOrg?) throws(Refusal) {
        guard let org else { return }
        if call.routingType == "Conference", !org.supportsConference { throw Refusal(10075) }
        if call.cancelReason != nil, !org.supportsCancelReason { throw Refusal(10076) }
        switch call.target {
        case .channelSetting: break
        case .flow(_, let queue), .queue(let queue):
            if let queues = org.queues, !queues.contains(queue) { throw Refusal(10032, queue) }
        }
    }

    /// Answers a token request, or lets its fault do so.
    mutating func decideToken(form: [String: String], now: Timestamp) -> (Decision, TokenDesk.Grant?) {
        let fault = faults.select(FaultRules.Facts(endpoint: .token), using: &generator)
        var decision = Decision(fault: fault, latency: fault?.latency(using: &generator))
        if let fault {
            totals.faults += 1
            decision.reply = Reply.replacement(by: fault)
            if decision.reply != nil || fault.actualEffect == .none { return (decision, nil) }
        }
        do throws(OAuthRefusal) {
            return (decision, try tokens.issue(form: form, orgs: orgs, now: now, using: &generator))
        } catch {
            decision.reply = .refused(error)
            return (decision, nil)
        }
    }

    mutating func summary(now: Timestamp) -> SandboxSummary {
        book.acceptDue(now)
        return SandboxSummary(
            startedAt: startedAt.rfc3339, seed: settings.seed, totals: totals,
            routings: .init(waiting: book.waitingCount, accepted: book.acceptedCount, cleared: book.clearedCount),
            requestIDs: .init(seen: ledger.requestIDCount, withMoreThanOneEffect: ledger.doubledCount),
            tokens: .init(
                issued: tokens.issuedCount, refused: tokens.refusedCount, revoked: tokens.revokedCount),
            ledger: .init(
                entries: ledger.records.count, limit: ledger.records.limit, newest: ledger.records.last,
                forgotten: ledger.records.dropped))
    }

    /// Empties the ledger and sets its totals to zero. Routings, tokens and faults stay.
    mutating func resetLedger() {
        ledger.reset()
        totals = SandboxSummary.Totals()
    }
}

/// Requests of the second that runs, by org.
private struct RateWindow: Sendable {
    private var second: Int64 = 0
    private var counts: [OrgID: Int] = [:]

    mutating func admit(_ org: OrgID, limit: Int, now: Timestamp) -> Bool {
        if now.milliseconds / 1000 != second {
            second = now.milliseconds / 1000
            counts.removeAll(keepingCapacity: true)
        }
        counts[org, default: 0] += 1
        return counts[org, default: 0] <= limit
    }
}

extension Fault {
    /// How a request that this fault meets ends on the wire.
    var ending: Ending {
        switch action {
        case .latency, .status, .slowBody, .notJSON, .emptyBody, .failure: .answered
        case .cutBody: .answerCut
        case .reset: .connectionReset
        case .close: .connectionClosed
        case .hang: .neverAnswered
        }
    }
}
