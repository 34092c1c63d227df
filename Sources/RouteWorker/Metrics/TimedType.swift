// The kinds of message whose times are kept apart.

import RoutingContract

/// The label `type`.
enum TimedType: String, Sendable, CaseIterable {
    case initial
    case transfer
    case conference
    /// A route of a type that came after this version.
    case other
    case delete
    /// No valid command.
    case invalid

    init(_ command: RouteCommand) {
        switch (command.key.kind, command.routingType) {
        case (.delete, _): self = .delete
        case (.route, "Initial"): self = .initial
        case (.route, "Transfer"): self = .transfer
        case (.route, "Conference"): self = .conference
        case (.route, _): self = .other
        }
    }

    /// Its place in a table, without a search.
    var number: Int {
        switch self {
        case .initial: 0
        case .transfer: 1
        case .conference: 2
        case .other: 3
        case .delete: 4
        case .invalid: 5
        }
    }

    /// Whether a customer waits for it in a conversation that goes on, and Salesforce for no longer than 60 s.
    var isUrgent: Bool {
        switch self {
        case .transfer, .conference: true
        case .initial, .other, .delete, .invalid: false
        }
    }
}
