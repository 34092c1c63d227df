// What operators have said about orgs: paused or not, and what is done with their commands. Pure.

public import RoutingContract

/// What is done with an org's commands.
public enum ControlMode: Sendable, Hashable {
    /// They are called for and answered.
    case live
    /// They are read, counted and discarded: no call, no answer.
    case shadow
    /// They are handed on, as they came, to this queue.
    case passthrough(to: String)
}

/// What holds for one org in the end.
public struct OrgControl: Sendable, Hashable {
    /// Its commands wait. (What is no valid command is answered as such all the same: it could not be parked.)
    public var isPaused: Bool
    public var mode: ControlMode

    public init(isPaused: Bool = false, mode: ControlMode = .live) {
        self.isPaused = isPaused
        self.mode = mode
    }

    /// Where nobody has said anything.
    public static let live = OrgControl()
}

/// Who said something, when and why.
public struct ControlNote: Sendable, Hashable {
    public static let longestReason = 500

    public var since: Timestamp
    /// `user@host`.
    public var by: String
    public var reason: String?

    public init(since: Timestamp, by: String, reason: String? = nil) {
        self.since = since
        self.by = by
        self.reason = reason
    }
}

/// Something that was said, and by whom.
public struct Said<Value: Sendable & Hashable>: Sendable, Hashable {
    public var value: Value
    public var note: ControlNote

    public init(_ value: Value, _ note: ControlNote) {
        self.value = value
        self.note = note
    }
}

/// What was said about one org, or about all.
public struct ControlEntry: Sendable, Hashable {
    /// `false`, said of one org, excepts it from a pause of all.
    public var paused: Said<Bool>?
    public var mode: Said<ControlMode>?

    public init(paused: Said<Bool>? = nil, mode: Said<ControlMode>? = nil) {
        self.paused = paused
        self.mode = mode
    }

    var isEmpty: Bool { self == ControlEntry() }
}

/// Everything that holds, for the whole fleet. Each message of the controls stream states all of it anew.
///
/// What was said of an org by its name holds until something else is said of it by name; what was said of all holds for
/// the others. But a pause of all pauses every org.
public struct ControlState: Sendable, Hashable {
    /// Grows by one with each change; 0 where nothing was ever said.
    public var version: Int
    public var all: ControlEntry
    public var orgs: [OrgID: ControlEntry]
    /// Of the last change, which may be that something holds no more.
    public var changed: ControlNote?

    public init(
        version: Int = 0, all: ControlEntry = ControlEntry(), orgs: [OrgID: ControlEntry] = [:],
        changed: ControlNote? = nil
    ) {
        self.version = version
        self.all = all
        self.orgs = orgs
        self.changed = changed
    }

    /// - Parameter org: `nil` for a message of which nobody knows for which org it is.
    public func control(of org: OrgID?) -> OrgControl {
        let own = org.flatMap { orgs[$0] }
        return OrgControl(
            isPaused: (own?.paused ?? all.paused)?.value ?? false, mode: (own?.mode ?? all.mode)?.value ?? .live)
    }
}

/// What an operator wants.
public enum ControlChange: Sendable, Hashable {
    case pause
    case resume
    case mode(ControlMode)
}

extension ControlState {
    /// The state after a change, under the next version.
    ///
    /// - Parameters:
    ///   - org: `nil` for all.
    ///   - restating: also where nothing changes.
    /// - Returns: `nil` where it holds already.
    public func changed(
        by change: ControlChange, for org: OrgID?, _ note: ControlNote, restating: Bool = false
    ) -> ControlState? {
        var next = self
        if let org {
            next.change(change, of: org, note)
        } else {
            next.changeAll(change, note)
        }
        next.orgs = next.orgs.filter { !$0.value.isEmpty }
        guard next != self || restating else { return nil }
        next.version += 1
        next.changed = note
        return next
    }

    private mutating func change(_ change: ControlChange, of org: OrgID, _ note: ControlNote) {
        var entry = orgs[org] ?? ControlEntry()
        switch change {
        case .pause:
            if entry.paused?.value != true { entry.paused = Said(true, note) }
        case .resume:
            guard control(of: org).isPaused else { break }
            entry.paused = all.paused == nil ? nil : Said(false, note)
        case .mode(let mode):
            // Also where it is the mode of all: it holds when all are told otherwise.
            if entry.mode?.value != mode { entry.mode = Said(mode, note) }
        }
        orgs[org] = entry
    }

    private mutating func changeAll(_ change: ControlChange, _ note: ControlNote) {
        switch change {
        case .pause:
            all.paused = all.paused ?? Said(true, note)
            forgetExceptions()
        case .resume:
            all.paused = nil
            forgetExceptions()
        case .mode(let mode):
            if all.mode?.value ?? .live != mode { all.mode = mode == .live ? nil : Said(mode, note) }
        }
    }

    /// Of a pause of all.
    private mutating func forgetExceptions() {
        for org in orgs.keys where orgs[org]!.paused?.value == false { orgs[org]!.paused = nil }
    }
}
