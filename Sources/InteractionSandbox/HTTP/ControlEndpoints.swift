// `/sandbox/…`: read what happened, and make things go wrong.

import Foundation
import HTTPTypes
import Hummingbird
import RoutingContract

struct ControlEndpoints: Sendable {
    private static let maximumFaultBytes = 1024 * 1024
    /// Entries written between two looks at the state, when all of a ledger is asked for.
    private static let pageSize = 1000

    let state: StateBox

    func health() throws -> Response {
        try Self.json(["status": "ok"])
    }

    func summary() throws -> Response {
        try Self.json(state.access { $0.summary(now: .now) })
    }

    /// JSON holds `limit` entries (1,000 unless said); NDJSON holds all, unless a limit is given.
    func ledger(_ request: Request) throws -> Response {
        let query = try Query(request, "requestId", "conversation", "org", "since", "after", "limit", "format")
        let filter = LedgerFilter(
            requestID: query["requestId"], conversation: query["conversation"], org: query["org"],
            since: try query.time("since"), after: UInt64(try query.number("after") ?? 0),
            limit: try query.number("limit") ?? 1000)
        let wantsLines =
            query["format"] == "ndjson" || request.headers[.accept]?.contains("application/x-ndjson") == true
        guard wantsLines else {
            let entries = state.access { $0.ledger.entries(filter) }
            return try Self.json(
                LedgerPage(entries: entries, next: entries.count == filter.limit ? entries.last?.sequence : nil))
        }
        let limit = try query.number("limit") ?? .max
        return Response(
            status: .ok, headers: [.contentType: "application/x-ndjson"],
            body: ResponseBody { [state] writer in
                var page = filter
                var left = limit
                while left > 0 {
                    page.limit = min(Self.pageSize, left)
                    let entries = state.access { [page] in $0.ledger.entries(page) }
                    var lines = ByteBuffer()
                    for entry in entries {
                        lines.writeBytes(try Self.encoder.encode(entry))
                        lines.writeInteger(UInt8(ascii: "\n"))
                    }
                    if lines.readableBytes > 0 { try await writer.write(lines) }
                    left -= entries.count
                    guard let last = entries.last, entries.count == page.limit else { break }
                    page.after = last.sequence
                }
                try await writer.finish(nil)
            })
    }

    func resetLedger() -> Response {
        state.access { $0.resetLedger() }
        return Response(status: .noContent)
    }

    func effects(_ request: Request) throws -> Response {
        let query = try Query(request, "minEffects", "limit")
        let minimum = try query.number("minEffects") ?? 0
        let limit = try query.number("limit") ?? 10_000
        let found = state.access { $0.ledger.effects(minimum: minimum, limit: limit) }
        return try Self.json(EffectPage(total: found.total, effects: found.shown))
    }

    func effects(of requestID: String) throws -> Response {
        try Self.json(state.access { $0.ledger.effects(of: requestID) })
    }

    func routings(_ request: Request) throws -> Response {
        let query = try Query(request, "conversation", "org", "state", "limit")
        let org = try query.org()
        let limit = try query.number("limit") ?? 1000
        var wanted: PendingRouting.State?
        if let name = query["state"] {
            guard let state = PendingRouting.State(rawValue: name) else {
                throw HTTPError(.badRequest, message: "state must be waiting, accepted or cleared")
            }
            wanted = state
        }
        let found = state.access { [wanted] in
            $0.book.list(conversation: query["conversation"], org: org, state: wanted, limit: limit, now: .now)
        }
        return try Self.json(["psrs": found])
    }

    func acceptRoutings(_ request: Request) throws -> Response {
        let query = try Query(request, "conversation", "org")
        guard let conversation = query["conversation"] else {
            throw HTTPError(.badRequest, message: "conversation is missing")
        }
        let org = try query.org()
        return try Self.json([
            "accepted": state.access { $0.book.accept(conversation: conversation, org: org, now: .now) }
        ])
    }

    func resetRoutings() -> Response {
        state.access { $0.book.reset() }
        return Response(status: .noContent)
    }

    func faults() throws -> Response {
        try Self.json(["faults": state.access { $0.faults.rules }])
    }

    /// Takes one rule or an array of them as JSON, or shorthands, one a line. All or none are added.
    func addFaults(_ request: Request) async throws -> Response {
        var request = request
        let body = try await request.collectBody(upTo: Self.maximumFaultBytes)
        do {
            let faults = try Fault.parse(String(buffer: body))
            let added = try state.access { sandbox throws(InvalidFault) in
                let before = sandbox.faults
                do throws(InvalidFault) {
                    var added: [Fault] = []
                    for fault in faults { added.append(try sandbox.faults.add(fault)) }
                    return added
                } catch {
                    sandbox.faults = before
                    throw error
                }
            }
            return try Self.json(["faults": added], status: .created)
        } catch let error as InvalidFault {
            throw HTTPError(.badRequest, message: error.description)
        }
    }

    func removeFaults() -> Response {
        state.access { $0.faults.removeAll() }
        return Response(status: .noContent)
    }

    func removeFault(_ id: Int) throws -> Response {
        guard state.access({ $0.faults.remove(id: id) }) else { throw HTTPError(.notFound, message: "no such fault") }
        return Response(status: .noContent)
    }

    /// Revokes one token (`token`), those of an org (`org`), or all.
    func revokeTokens(_ request: Request) throws -> Response {
        let query = try Query(request, "token", "org")
        if let token = query["token"] {
            state.access { $0.tokens.revoke(token: token) }
            return try Self.json(["revoked": 1])
        }
        let org = try query.org()
        return try Self.json(["revoked": state.access { $0.tokens.revokeAll(org: org) }])
    }

    private static var encoder: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return encoder
    }

    private static func json(_ value: some Encodable, status: HTTPResponse.Status = .ok) throws -> Response {
        var body = ByteBuffer(bytes: try encoder.encode(value))
        body.writeString("\n")
        return Response(
            status: status, headers: [.contentType: "application/json"], body: ResponseBody(byteBuffer: body))
    }
}

/// What `GET /sandbox/ledger` answers.
private struct LedgerPage: Encodable {
    var entries: [LedgerEntry]
    /// To be given as `after` for more; absent at the end.
    var next: UInt64?
}

/// What `GET /sandbox/effects` answers.
private struct EffectPage: Encodable {
    /// How many RequestIds fit, shown or not.
    var total: Int
    var effects: [EffectCount]
}

/// The query of a request, with words for what is wrong in it.
private struct Query: Sendable {
    private let values: [String: String]

    /// A misspelt name would silently show something else, so unknown ones are refused.
    init(_ request: Request, _ known: String...) throws {
        values = FormFields.read(request.uri.query ?? "")
        guard let unknown = values.keys.filter({ !known.contains($0) }).min() else { return }
        throw HTTPError(
            .badRequest, message: "\(unknown) is unknown here; known are \(known.joined(separator: ", "))")
    }

    subscript(name: String) -> String? { values[name] }

    func number(_ name: String) throws -> Int? {
        guard let text = values[name] else { return nil }
        guard let number = Int(text), number >= 0 else {
            throw HTTPError(.badRequest, message: "\(name) must be a number")
        }
        return number
    }

    func time(_ name: String) throws -> Timestamp? {
        guard let text = values[name] else { return nil }
        guard let time = Int64(text).map(Timestamp.init(milliseconds:)) ?? Timestamp(rfc3339: text) else {
            throw HTTPError(.badRequest, message: "\(name) must be RFC 3339 in UTC, or milliseconds since 1970")
        }
        return time
    }

    func org() throws -> OrgID? {
        guard let text = values["org"] else { return nil }
        guard let org = OrgID(text) else { throw HTTPError(.badRequest, message: "org is no org id") }
        return org
    }
}
