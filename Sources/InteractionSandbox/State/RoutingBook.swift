// The pending service routings (PSR): created by a route, ended by a rep who accepts or by a delete.

import RoutingContract

/// A pending service routing as the control API shows it.
public struct PendingRouting: Sendable, Hashable, Codable {
    public enum State: String, Sendable, Hashable, Codable { case waiting, accepted, cleared }

    /// 18 characters, `0JR…`.
    public var id: String
    public var workItemID: String
    /// 15 characters.
    public var org: String
    public var conversation: String
    /// RequestId of the call that created it.
    public var requestID: String
    public var routingType: String
    /// Flow that routes it, where one was given.
    public var flowID: String?
    /// Target queue, or the fallback queue of a flow.
    public var queueID: String?
    public var state: State
    /// RFC 3339, UTC.
    public var createdAt: String
    public var endedAt: String?

    enum CodingKeys: String, CodingKey {
        case id, org, conversation, routingType, state, createdAt, endedAt
        case workItemID = "workItemId"
        case requestID = "requestId"
        case flowID = "flowId"
        case queueID = "queueId"
    }
}

struct RoutingBook: Sendable {
    private struct Key: Hashable, Sendable {
        var org: OrgID
        var conversation: CompactText
    }

    private struct Routing: Sendable {
        var key: Key
        var request: CompactText
        var routingType: String
        var target: RouteCall.Target
        var createdAt: Timestamp
        var endedAt: Timestamp?
        var state = PendingRouting.State.waiting
    }

    /// How long a rep takes; `nil` for ever.
    let acceptedAfter: Duration?
    private var routings: Ring<Routing>
    private var waiting: [Key: [UInt64]] = [:]
    /// All up to this number have been looked at by `acceptDue`; they become due in the order of their creation.
    private var acceptedThrough: UInt64 = 0
    private(set) var waitingCount = 0
    private(set) var acceptedCount = 0
    private(set) var clearedCount = 0

    init(limit: Int, acceptedAfter: Duration?) {
        routings = Ring(limit: limit)
        self.acceptedAfter = acceptedAfter
    }

    /// Lets reps accept what has waited long enough.
    mutating func acceptDue(_ now: Timestamp) {
        guard let acceptedAfter else { return }
        acceptedThrough = max(acceptedThrough, routings.dropped)
        while let routing = routings[acceptedThrough + 1], routing.createdAt + acceptedAfter <= now {
            acceptedThrough += 1
            if routing.state == .waiting { accept(acceptedThrough, at: routing.createdAt + acceptedAfter) }
        }
    }

    private mutating func accept(_ number: UInt64, at time: Timestamp) {
        guard let key = routings[number]?.key else { return }
        end(number, as: .accepted, at: time)
        waiting[key]?.removeAll { $0 == number }
        if waiting[key]?.isEmpty == true { waiting[key] = nil }
        acceptedCount += 1
    }

    private mutating func end(_ number: UInt64, as state: PendingRouting.State, at time: Timestamp) {
        routings[number]?.state = state
        routings[number]?.endedAt = time
        waitingCount -= 1
    }

    /// Creates a routing and returns its number.
    mutating func create(_ call: RouteCall, org: OrgID, request: CompactText, now: Timestamp) -> UInt64 {
        acceptDue(now)
        let key = Key(org: org, conversation: CompactText(call.conversation))
        let routing = Routing(
            key: key, request: request, routingType: call.routingType ?? "", target: call.target, createdAt: now)
        let forgotten = routings.append(routing)
        if let forgotten, forgotten.state == .waiting {
            waiting[forgotten.key]?.removeAll { $0 == routings.dropped }
            if waiting[forgotten.key]?.isEmpty == true { waiting[forgotten.key] = nil }
            waitingCount -= 1
        }
        waiting[key, default: []].append(routings.last)
        waitingCount += 1
        return routings.last
    }

    /// Clears all that wait of a conversation, and returns how many.
    mutating func clear(_ conversation: String, org: OrgID, now: Timestamp) -> Int {
        acceptDue(now)
        let numbers = waiting.removeValue(forKey: Key(org: org, conversation: CompactText(conversation))) ?? []
        for number in numbers { end(number, as: .cleared, at: now) }
        clearedCount += numbers.count
        return numbers.count
    }

    /// A rep accepts, at once, what waits of a conversation (of any org, or of one). Returns how many.
    mutating func accept(conversation: String, org: OrgID?, now: Timestamp) -> Int {
        acceptDue(now)
        let numbers = waiting.filter {
            $0.key.conversation == CompactText(conversation) && (org == nil || $0.key.org == org)
        }.values.joined()
        for number in numbers { accept(number, at: now) }
        return numbers.count
    }

    /// The routings that fit, oldest first, `limit` at most.
    mutating func list(
        conversation: String?, org: OrgID?, state: PendingRouting.State?, limit: Int, now: Timestamp
    ) -> [PendingRouting] {
        acceptDue(now)
        var found: [PendingRouting] = []
        let wanted = conversation.map { CompactText($0) }
        var number = routings.dropped + 1
        while let routing = routings[number], found.count < limit {
            if (wanted == nil || routing.key.conversation == wanted) && (org == nil || routing.key.org == org)
                && (state == nil || routing.state == state)
            {
                found.append(shown(routing, number: number))
            }
            number += 1
        }
        return found
    }

    private func shown(_ routing: Routing, number: UInt64) -> PendingRouting {
        var shown = PendingRouting(
            id: Self.id(number), workItemID: Self.workItemID(number), org: routing.key.org.description,
            conversation: routing.key.conversation.description, requestID: routing.request.description,
            routingType: routing.routingType, state: routing.state, createdAt: routing.createdAt.rfc3339,
            endedAt: routing.endedAt?.rfc3339)
        switch routing.target {
        case .channelSetting: break
        case .flow(let id, let fallbackQueue):
            shown.flowID = id
            shown.queueID = fallbackQueue
        case .queue(let id): shown.queueID = id
        }
        return shown
    }

    /// Forgets everything; numbers go on, so that ids never repeat.
    mutating func reset() {
        let last = routings.last
        self = RoutingBook(limit: routings.limit, acceptedAfter: acceptedAfter)
        routings = Ring(limit: routings.limit, dropped: last)
        acceptedThrough = last
    }

    static func id(_ number: UInt64) -> String {
        SalesforceID.make(prefix: SalesforceID.pendingServiceRouting, number: number)
    }

    static func workItemID(_ number: UInt64) -> String {
        SalesforceID.make(prefix: SalesforceID.messagingSession, number: number)
    }
}
