// The state of all controls as a message, and back.

public import AMQPMessage
import Foundation
public import RoutingContract

extension ControlState {
    /// A state of a higher one was written by a later version, and is not understood in full.
    public static let schemaVersion = 1
    public static let messageType = "controls.state"

    /// What a message of the stream says.
    public enum Read: Sendable, Hashable {
        case state(ControlState)
        /// For a later version of this program.
        case newer(schema: Int)
        /// No state at all, for this reason.
        case garbage(String)
    }

    /// The body of its message.
    public var json: [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let form = StateForm(
            schemaVersion: Self.schemaVersion, version: version, changed: changed.map { NoteForm($0) },
            all: EntryForm(all),
            orgs: Dictionary(uniqueKeysWithValues: orgs.map { ($0.key.description, EntryForm($0.value)) }))
        guard let body = try? encoder.encode(form) else { preconditionFailure("texts and numbers can be encoded") }
        return Array(body)
    }

    /// As it is published.
    ///
    /// - Parameter messageID: unique, so that a return of it can be told from others.
    public func message(_ messageID: String, at now: Timestamp) -> Message {
        let properties = MessageProperties(
            contentType: "application/json", deliveryMode: 2, messageID: messageID, timestamp: now.amqp,
            type: Self.messageType)
        return Message(properties: properties, body: json)
    }

    public static func read(_ body: [UInt8]) -> Read {
        let decoder = JSONDecoder()
        guard let schema = try? decoder.decode(SchemaForm.self, from: Data(body)).schemaVersion, schema > 0 else {
            return .garbage("no schemaVersion")
        }
        guard schema <= schemaVersion else { return .newer(schema: schema) }
        do {
            let form = try decoder.decode(StateForm.self, from: Data(body))
            // There must be a next one.
            guard (0..<Int.max).contains(form.version) else { return .garbage("version \(form.version)") }
            var state = ControlState(
                version: form.version, all: try form.all.entry, changed: try form.changed?.note)
            for (name, entry) in form.orgs {
                guard let org = OrgID(name) else { throw Unreadable(what: "'\(name)' is no org") }
                state.orgs[org] = try entry.entry
            }
            return .state(state)
        } catch let error as Unreadable {
            return .garbage(error.what)
        } catch {
            return .garbage("not of the form of schema \(schema)")
        }
    }
}

private struct Unreadable: Error {
    var what: String
}

private struct SchemaForm: Codable {
    var schemaVersion: Int
}

private struct StateForm: Codable {
    var schemaVersion: Int
    var version: Int
    var changed: NoteForm?
    var all: EntryForm
    var orgs: [String: EntryForm]
}

private struct EntryForm: Codable {
    var paused: PausedForm?
    var mode: ModeForm?

    init(_ entry: ControlEntry) {
        paused = entry.paused.map { PausedForm(paused: $0.value, note: NoteForm($0.note)) }
        mode = entry.mode.map { ModeForm(mode: $0.value.name, to: $0.value.target, note: NoteForm($0.note)) }
    }

    var entry: ControlEntry {
        get throws {
            ControlEntry(
                paused: try paused.map { Said($0.paused, try $0.note.note) },
                mode: try mode.map { form in
                    guard let mode = ControlMode(named: form.mode, to: form.to) else {
                        throw Unreadable(what: "mode '\(form.mode)'")
                    }
                    return Said(mode, try form.note.note)
                })
        }
    }
}

private struct PausedForm: Codable {
    var paused: Bool
    var note: NoteForm
}

private struct ModeForm: Codable {
    var mode: String
    var to: String?
    var note: NoteForm
}

private struct NoteForm: Codable {
    var since: String
    var by: String
    var reason: String?

    init(_ note: ControlNote) {
        (since, by, reason) = (note.since.rfc3339, note.by, note.reason)
    }

    var note: ControlNote {
        get throws {
            guard let since = Timestamp(rfc3339: since) else { throw Unreadable(what: "time '\(since)'") }
            return ControlNote(since: since, by: by, reason: reason)
        }
    }
}

extension ControlMode {
    /// `live`, `shadow` or `passthrough`.
    public var name: String {
        switch self {
        case .live: "live"
        case .shadow: "shadow"
        case .passthrough: "passthrough"
        }
    }

    /// The queue of a passthrough.
    public var target: String? {
        if case .passthrough(let queue) = self { queue } else { nil }
    }

    /// - Returns: `nil` where there is no such mode, or `target` is missing or not wanted.
    public init?(named name: String, to target: String?) {
        switch (name, target) {
        case ("live", nil): self = .live
        case ("shadow", nil): self = .shadow
        case ("passthrough", let target?) where !target.isEmpty && target.utf8.count <= 255:
            self = .passthrough(to: target)
        default: return nil
        }
    }
}
