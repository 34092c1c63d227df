// Every request and its effect, the newest in a ring, with the effects counted by RequestId.

import RoutingContract

struct Ledger: Sendable {
    enum Effect: Sendable, Hashable {
        case none
        /// The number of the routing in the book.
        case created(UInt64)
        case cleared(Int)
    }

    /// What is kept of a request: 160 bytes.
    struct Record: Sendable {
        var time: Timestamp
        var method: IncomingRequest.Method
        var org: String?
        var request: CompactText?
        var conversation: CompactText?
        var bodyBytes: Int
        var fault: Int?
        var ending = Ending.answered
        var status: Int?
        var code: Int?
        var effect = Effect.none
    }

    private struct Count: Sendable {
        var requests = 0
        var created = 0
        var cleared = 0
        var effects: Int { created + cleared }

        mutating func add(_ effect: Effect, _ step: Int) {
            switch effect {
            case .none: break
            case .created: created += step
            case .cleared: cleared += step
            }
        }
    }

    private(set) var records: Ring<Record>
    private var headerLines: Ring<String>
    private var counts: [CompactText: Count] = [:]

    init(limit: Int, headersLimit: Int, dropped: UInt64 = 0) {
        records = Ring(limit: limit, dropped: dropped)
        headerLines = Ring(limit: headersLimit, dropped: dropped)
    }

    /// Takes a request in and returns its sequence number.
    mutating func append(_ record: Record, headers: String) -> UInt64 {
        if let request = record.request?.ignoringCase {
            counts[request, default: Count()].requests += 1
            counts[request]?.add(record.effect, 1)
        }
        if let forgotten = records.append(record), let request = forgotten.request?.ignoringCase {
            counts[request]?.requests -= 1
            counts[request]?.add(forgotten.effect, -1)
            if counts[request]?.requests == 0 { counts[request] = nil }
        }
        headerLines.append(headers)
        return records.last
    }

    /// Writes what became of a request whose effect came late.
    mutating func amend(_ sequence: UInt64, effect: Effect, status: Int?, code: Int?) {
        guard let request = records[sequence]?.request else { return }
        counts[request.ignoringCase]?.add(effect, 1)
        records[sequence]?.effect = effect
        records[sequence]?.status = status
        records[sequence]?.code = code
    }

    /// The entries that fit, oldest first.
    func entries(_ filter: LedgerFilter) -> [LedgerEntry] {
        let request = filter.requestID.map { CompactText(ignoringCase: $0) }
        let conversation = filter.conversation.map { CompactText($0) }
        let org = filter.org.map { OrgID($0)?.description ?? $0 }
        var found: [LedgerEntry] = []
        var sequence = max(filter.after, records.dropped) + 1
        while found.count < filter.limit, let record = records[sequence] {
            if (request == nil || record.request?.ignoringCase == request)
                && (conversation == nil || record.conversation == conversation) && (org == nil || record.org == org)
                && (filter.since.map { record.time >= $0 } ?? true)
            {
                found.append(entry(sequence, record))
            }
            sequence += 1
        }
        return found
    }

    private func entry(_ sequence: UInt64, _ record: Record) -> LedgerEntry {
        var entry = LedgerEntry(
            sequence: sequence, time: record.time.rfc3339, method: record.method.rawValue, org: record.org,
            requestID: record.request?.description, conversation: record.conversation?.description,
            headers: headerLines[sequence].map(Self.headers), bodyBytes: record.bodyBytes, fault: record.fault,
            ending: record.ending, status: record.status, code: record.code, effect: .none)
        switch record.effect {
        case .none: break
        case .created(let number):
            entry.effect = .created
            entry.psrID = RoutingBook.id(number)
        case .cleared(let count):
            entry.effect = .cleared
            entry.cleared = count
        }
        return entry
    }

    private static func headers(_ lines: String) -> [String: String] {
        var headers: [String: String] = [:]
        for line in lines.split(separator: "\n") {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let value = line[line.index(after: colon)...].trimmed
            headers[String(line[..<colon]), default: ""] +=
                headers[String(line[..<colon])] == nil ? value : ", " + value
        }
        return headers
    }

    /// How many different RequestIds the ledger holds.
    var requestIDCount: Int { counts.count }

    /// How many RequestIds have more than one effect.
    var doubledCount: Int { counts.values.count { $0.effects > 1 } }

    /// What the ledger holds for a RequestId; zeros where it knows none.
    func effects(of requestID: String) -> EffectCount {
        let key = CompactText(ignoringCase: requestID)
        return Self.shown(key, counts[key] ?? Count())
    }

    /// The counts of RequestIds with at least `minimum` effects, in the order of the ids.
    func effects(minimum: Int, limit: Int) -> (total: Int, shown: [EffectCount]) {
        let fitting = counts.filter { $0.value.effects >= minimum }.map { Self.shown($0.key, $0.value) }
        return (fitting.count, Array(fitting.sorted { $0.requestID < $1.requestID }.prefix(limit)))
    }

    private static func shown(_ key: CompactText, _ count: Count) -> EffectCount {
        EffectCount(
            requestID: key.description, requests: count.requests, effects: count.effects, created: count.created,
            cleared: count.cleared)
    }

    /// Forgets everything; sequence numbers go on.
    mutating func reset() {
        self = Ledger(limit: records.limit, headersLimit: headerLines.limit, dropped: records.last)
    }
}
