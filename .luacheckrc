-- What is in every Lua from 5.1 to 5.4, and no more.
std = "min"
-- Methods have it whether they use it or not.
ignore = { "212/self" }
max_line_length = false

read_globals = {
	"prosody",
}

-- The API of modules, see https://prosody.im/doc/developers/moduleapi
stds.prosody_module = {
	globals = {
		module = {
			fields = {
				-- functions that a module may define
				add_host = { read_only = false },
				command = { read_only = false },
				load = { read_only = false },
				ready = { read_only = false },
				restore = { read_only = false },
				save = { read_only = false },
				unload = { read_only = false },
				environment = { read_only = false, other_fields = true },
				-- state
				_log = {},
				global = {},
				host = {},
				loaded = {},
				name = {},
				path = {},
				reloading = {},
				saved_state = { other_fields = true },
				-- methods
				add_extension = {},
				add_feature = {},
				add_identity = {},
				add_item = {},
				add_timer = {},
				broadcast = {},
				context = {},
				cron = {},
				daily = {},
				default_permission = {},
				depends = {},
				fire_event = {},
				get_directory = {},
				get_host = {},
				get_host_items = {},
				get_host_type = {},
				get_name = {},
				get_option = {},
				get_option_array = {},
				get_option_boolean = {},
				get_option_enum = {},
				get_option_inherited_set = {},
				get_option_integer = {},
				get_option_number = {},
				get_option_path = {},
				get_option_period = {},
				get_option_scalar = {},
				get_option_set = {},
				get_option_string = {},
				handle_items = {},
				has_feature = {},
				has_identity = {},
				hook = {},
				hook_global = {},
				hook_object_event = {},
				hook_tag = {},
				hourly = {},
				load_resource = {},
				log = {},
				log_status = {},
				may = {},
				measure = {},
				metric = {},
				once = {},
				open_store = {},
				provides = {},
				remove_item = {},
				require = {},
				send = {},
				send_iq = {},
				set_global = {},
				set_status = {},
				shared = {},
				unhook = {},
				unhook_object_event = {},
				weekly = {},
				wrap_event = {},
				wrap_object_event = {},
			},
			read_only = true,
		},
	},
}

files["lua-out"] = { std = "min+prosody_module" }

-- The bench, the specs, and the Prosody modules that help them.
files["bench"] = { std = "max" }
files["spec"] = { std = "max+busted", globals = { "prosody" } }
files["spec/**/mod_*.lua"] = { std = "max+prosody_module" }
