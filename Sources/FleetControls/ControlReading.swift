// How the newest state is found in the controls stream, and followed. Pure.

/// What is known of the controls.
public struct KnownControls: Sendable, Hashable {
    public var state: ControlState
    /// Whether the stream's last message is none that can be read: whoever writes next states everything anew.
    public var endsInGarbage: Bool

    public init(state: ControlState, endsInGarbage: Bool = false) {
        self.state = state
        self.endsInGarbage = endsInGarbage
    }
}

/// Reads the stream: its last messages first, since the last state says everything; from its beginning only where there is no
/// state among them.
///
/// Nothing tells that a stream is empty. Whoever hears nothing for a while publishes a state of version 0, which says nothing
/// and only shows where the stream ends; whatever stands before it has been read when it comes.
public struct ControlReading: Sendable {
    /// What to do, in this order.
    public enum Action: Sendable, Hashable {
        /// Consume the stream anew, from its first message on.
        case readFromFirst
        /// Publish a state of version 0.
        case markEnd
        /// This holds.
        case know(KnownControls)
        /// The last state was written by a later version; nobody here can say what holds now.
        case refuse(schema: Int)
        /// A message was passed over, for this reason.
        case passOver(String)
    }

    private enum Phase: Sendable {
        /// Consuming from the last messages on.
        case last
        /// Consuming from the first on; all is read with this offset.
        case first(until: Int64)
        /// It is known what holds, and the stream tells of changes.
        case following
    }

    private var phase = Phase.last
    private var found = ControlState()
    /// The schema of a state that was written by a later version after the one found.
    private var newerSchema: Int?
    private var endsInGarbage = false
    private var hasMarked = false

    public init() {}

    /// Whether the stream is being consumed from its first message on.
    public private(set) var isFromFirst = false

    /// The stream is consumed anew, from its last messages on.
    public mutating func restart() { self = ControlReading() }

    /// Nothing has come for a while.
    public mutating func heardNothing() -> [Action] {
        guard case .last = phase, !hasMarked else { return [] }
        hasMarked = true
        return [.markEnd]
    }

    /// The end could not be marked.
    public mutating func notMarked() { hasMarked = false }

    /// Messages came, in the order of the stream.
    public mutating func took(_ messages: [(offset: Int64, body: [UInt8])]) -> [Action] {
        guard let last = messages.last else { return [] }
        var actions: [Action] = []
        var saysSomething = false
        for message in messages {
            let read = ControlState.read(message.body)
            endsInGarbage = false
            switch read {
            case .state(let state) where state.version == 0: break
            case .state(let state):
                (found, newerSchema, saysSomething) = (state, nil, true)
            case .newer(let schema):
                (newerSchema, saysSomething) = (schema, true)
            case .garbage(let why):
                endsInGarbage = true
                actions.append(.passOver(why))
            }
        }
        switch phase {
        case .last where !saysSomething:
            phase = .first(until: last.offset)
            isFromFirst = true
            return [.readFromFirst]
        case .first(let until) where last.offset < until: return actions
        case .following where !saysSomething: return actions
        case .last, .first, .following: phase = .following
        }
        // The state before one of a later version is not what holds.
        if let newerSchema { return actions + [.refuse(schema: newerSchema)] }
        return actions + [.know(KnownControls(state: found, endsInGarbage: endsInGarbage))]
    }
}
